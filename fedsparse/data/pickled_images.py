"""The python batches of CIFAR-10 are pickles. They are read without letting a pickle do anything.

A pickle may call whatever it names. Ours may name three things, which stand for an array, and gets inert
stand-ins for them: they keep what the pickle says about the array, and the array is made here, of bytes only.
"""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.files import reading
from fedsparse.errors import DataError

__all__ = ["read_batches"]

PIXELS = 3 * 32 * 32
Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


class _Inert:
    """Stands for an array or a dtype of a pickle: remembers its state and does nothing else."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def bytes_array(self) -> NDArray[np.uint8]:
        """The array, if it is one of unsigned bytes in C order."""
        _version, shape, dtype, fortran, raw = self.state
        if dtype.arguments[0] not in ("u1", b"u1") or fortran or not isinstance(raw, bytes):
            raise ValueError("its array is not one of unsigned bytes in C order")
        return np.frombuffer(raw, np.uint8).reshape(shape)


STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _Inert,
    ("numpy._core.multiarray", "_reconstruct"): _Inert,
    ("numpy", "ndarray"): _Inert,
    ("numpy", "dtype"): _Inert,
}


class _ArraysOnly(pickle.Unpickler):
    """Knows arrays, and no other class or function."""

    def find_class(self, module: str, name: str) -> type[_Inert]:
        """The stand-in for an array's parts; everything else is refused."""
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which images do not need")
        return STAND_INS[module, name]

    def persistent_load(self, pid: object) -> NoReturn:
        """Nothing outside the file is loaded."""
        raise pickle.UnpicklingError(f"it asks for the outside object {pid!r}")


def read_batches(source: Path, names: Sequence[str]) -> list[Batch]:
    """Images and labels of some batches.

    Args:
        source: the folder of the batches, or the published ``.tar.gz``, which is read in place.
        names: the batches, e.g. ``"test_batch"``.

    Returns:
        For each batch the images ``[n, 3, 32, 32]`` uint8 and the labels ``[n]`` int64.

    Raises:
        DataError: a file is missing, damaged, or asks for anything but arrays.
    """
    if source.is_dir():
        return [_read_batch(source / name, _bytes_of(source / name)) for name in names]
    with reading(source), tarfile.open(source) as archive:
        raw = {Path(m.name).name: _member(archive, m) for m in archive if Path(m.name).name in names}
    missing = [name for name in names if name not in raw]
    if missing:
        raise DataError(f"{source} holds no {', '.join(missing)}; it is another archive, or damaged")
    return [_read_batch(source / name, raw[name]) for name in names]


def _bytes_of(path: Path) -> bytes:
    with reading(path):
        return path.read_bytes()


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise ValueError(f"{member.name} is not a regular file")
    with file:
        return file.read()


def _read_batch(path: Path, raw: bytes) -> Batch:
    # A hostile or cut-off pickle can make the unpickler raise nearly anything.
    try:
        return _arrays(_ArraysOnly(io.BytesIO(raw), encoding="bytes").load())
    except Exception as error:
        raise DataError(
            f"{path} is damaged or not a batch of CIFAR-10 ({type(error).__name__}: {error}); get it again"
        ) from error


def _arrays(content: dict[bytes, Any]) -> Batch:
    x = content[b"data"].bytes_array()
    y = np.array(content[b"labels"], dtype=np.int64)
    if x.ndim != 2 or x.shape[1] != PIXELS or y.shape != x.shape[:1]:
        raise ValueError(f"images have shape {x.shape} and labels {y.shape}")
    return x.reshape(-1, 3, 32, 32), y
