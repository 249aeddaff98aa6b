"""The idx format of MNIST and its relatives: a magic number, big-endian sizes, raw bytes; usually gzipped.

Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import struct
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.dataset import Dataset
from fedsparse.data.files import Files, reading
from fedsparse.errors import DataError

__all__ = ["load_images", "read_idx"]

UINT8 = 8
MOST_BYTES = 1 << 31


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of an idx file of unsigned bytes, plain or gzipped by its suffix.

    Raises:
        DataError: wrong magic number, impossible sizes, or more or fewer bytes than the sizes say.
    """
    with reading(path), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        magic = file.read(4)
        if magic != bytes((0, 0, UINT8, dimensions)):
            raise DataError(
                f"{path} begins with {magic.hex() or 'nothing'}; an idx file of bytes with {dimensions} "
                f"dimension(s) begins with 000008{dimensions:02x}. It is another file, or damaged"
            )
        header = file.read(4 * dimensions)
        shape = struct.unpack(f">{dimensions}I", header) if len(header) == 4 * dimensions else (MOST_BYTES,)
        size = prod(shape)
        if size >= MOST_BYTES:
            raise DataError(
                f"{path} is damaged: its header claims {size:,} bytes or is cut off; get it again"
            )
        raw = file.read(size + 1)
    if len(raw) != size:
        amount = "more" if len(raw) > size else f"only {len(raw):,}"
        raise DataError(
            f"{path} is damaged: its header says {size:,} bytes, {amount} are there; get it again"
        )
    return np.frombuffer(raw, np.uint8).reshape(shape)


def load_images(files: Files, data_dir: Path | None) -> Dataset:
    """A set published as four idx files: images and labels, for training (``train``) and test (``t10k``).

    Pixels are scaled to [0, 1]; ten classes.

    Raises:
        DataError: a file is missing or damaged, or images and labels do not fit.
    """
    arrays = []
    for part in ("train", "t10k"):
        for content, dimensions in (("images-idx3", 3), ("labels-idx1", 1)):
            stem = f"{part}-{content}-ubyte"
            arrays.append(read_idx(files.find(data_dir, f"{stem}.gz", stem), dimensions))
    x, y, x_test, y_test = arrays
    return Dataset(
        name=files.name,
        x=x[:, None],
        y=y.astype(np.int64),
        x_test=x_test[:, None],
        y_test=y_test.astype(np.int64),
        classes=10,
        scale=1 / 255,
    )
