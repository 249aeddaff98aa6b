"""Your own data as a folder: ``x.npy``, ``y.npy``, ``x_test.npy``, ``y_test.npy``, perhaps ``client.npy``.

``x`` is ``[N, ...]``: bytes for images ``[N, channels, H, W]``, floats, or int64 tokens. ``y`` is ``[N]``
whole numbers 0, 1, ... (classes), ``[N, T]`` (a class for every token), or floats (regression).
``client.npy`` is ``[N]``, any number or text that says whose a training example is; clients are numbered in
its sorted order.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.checks import whole
from fedsparse.data.dataset import Dataset
from fedsparse.data.files import Files, read_array
from fedsparse.data.split import dense_ids
from fedsparse.errors import DataError

__all__ = ["FILES", "load"]

FILES = Files(
    name="arrays",
    folders=("arrays", "."),
    origin="The folder needs x.npy, y.npy, x_test.npy and y_test.npy; client.npy is optional.",
)


def load(
    data_dir: Path | None,
    seed: int,  # noqa: ARG001 - read from files
    *,
    folder: str = "",
    classes: int = 0,
    scale: float = 1.0,
    shift: float = 0.0,
) -> Dataset:
    """Read the arrays. Floats become float32, whole numbers int64, bytes stay bytes.

    Args:
        data_dir: the data folder.
        seed: not used.
        folder: where the arrays lie; empty for the data folder, or ``arrays`` in it.
        classes: how many classes there are; 0 counts up to the largest label. For regression, outputs.
        scale: inputs are multiplied by this,
        shift: and this is added; images usually want 1/255 and 0.
    """
    whole("classes", classes, 0)
    root = Path(folder).expanduser() if folder else data_dir
    x, y, x_test, y_test = (_read(root, name) for name in ("x", "y", "x_test", "y_test"))
    return Dataset(
        name=f"arrays_{FILES.find(root, 'x.npy').resolve().parent.name}",
        x=x,
        y=_targets(y),
        x_test=x_test,
        y_test=_targets(y_test),
        classes=classes or _count(y, y_test),
        groups=_clients(FILES.find(root, "x.npy").parent / "client.npy", len(x)),
        scale=scale,
        shift=shift,
    )


def _read(root: Path | None, name: str) -> NDArray[np.generic]:
    path = FILES.find(root, f"{name}.npy")
    array = read_array(path)
    if array.dtype in (np.dtype(np.uint8), np.dtype(np.int64)):
        return array
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    raise DataError(f"{path} holds {array.dtype}; numbers are needed")


def _targets(y: NDArray[np.generic]) -> NDArray[np.generic]:
    return y.astype(np.int64) if y.dtype == np.uint8 else y


def _count(y: NDArray[np.generic], y_test: NDArray[np.generic]) -> int:
    if y.dtype == np.float32:
        return int(y.shape[1]) if y.ndim > 1 else 1
    return 1 + max((int(part.max()) for part in (y, y_test) if part.size), default=0)


def _clients(path: Path, examples: int) -> NDArray[np.int64] | None:
    if not path.is_file():
        return None
    names = read_array(path)
    if names.shape != (examples,):
        raise DataError(
            f"{path} has shape {names.shape}; one entry for each of the {examples} rows of x.npy is needed"
        )
    return dense_ids(names)
