"""CIFAR-10, colour pictures of 32x32 pixels in ten classes.

Three variants: ``full``, the published python batches (50,000 + 10,000); ``lossless_4k``, the first 4,000
images of the first batch, exact pixels; ``jpeg_12k``, 10,000 + 2,000 images whose pixels went through JPEG,
so that accuracies are not comparable to published ones. The 4,000 images are among the training images of
``jpeg_12k``: never train on one and test on the other.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.checks import one_of
from fedsparse.data.dataset import Dataset
from fedsparse.data.files import Files, Source, read_arrays
from fedsparse.data.pickled_images import read_batches
from fedsparse.data.split import stratified

__all__ = ["FILES", "load"]

ARCHIVE = "cifar-10-python.tar.gz"
FILES = Files(
    name="cifar10",
    folders=("cifar10", "."),
    sources=(
        Source(
            ARCHIVE,
            (
                "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets/cifar-10-python.tar.gz",
            ),
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ),
    ),
    origin="Smaller files: data.variant=lossless_4k and data.variant=jpeg_12k read cifar10_VARIANT.npz.",
)
TRAIN = tuple(f"data_batch_{k}" for k in range(1, 6))


def load(data_dir: Path | None, seed: int, *, variant: str = "full") -> Dataset:  # noqa: ARG001 - fixed splits
    """Read one variant; pixels are scaled to [-1, 1].

    Args:
        data_dir: the data folder.
        seed: not used.
        variant: ``full``, ``lossless_4k`` (800 of its images, stratified by class, are the test part in every
            run) or ``jpeg_12k``.
    """
    one_of("variant", variant, ("full", "lossless_4k", "jpeg_12k"))
    if variant == "full":
        return _full(data_dir)
    path = FILES.find(data_dir, f"cifar10_{variant}.npz")
    return _lossless(path) if variant == "lossless_4k" else _jpeg(path)


def _full(data_dir: Path | None) -> Dataset:
    path = FILES.find(data_dir, "cifar-10-batches-py/data_batch_1", ARCHIVE, "data_batch_1")
    source = path if path.name == ARCHIVE else path.parent
    parts = read_batches(source, (*TRAIN, "test_batch"))
    x, y = (np.concatenate([part[k] for part in parts[:-1]]) for k in (0, 1))
    return _dataset("cifar10", x, y, *parts[-1])


def _lossless(path: Path) -> Dataset:
    arrays = read_arrays(path, x=(None, 32, 32, 3), y=(None,))
    x, y = _channels_first(arrays["x"]), arrays["y"].astype(np.int64)
    train, test = stratified(y, 0.2, "cifar10_lossless_4k")
    return _dataset("cifar10_lossless_4k", x[train], y[train], x[test], y[test])


def _jpeg(path: Path) -> Dataset:
    image = (None, 32, 32, 3)
    arrays = read_arrays(path, x_train=image, y_train=(None,), x_test=image, y_test=(None,))
    x, x_test = (_channels_first(arrays[k]) for k in ("x_train", "x_test"))
    y, y_test = (arrays[k].astype(np.int64) for k in ("y_train", "y_test"))
    return _dataset("cifar10_jpeg_12k", x, y, x_test, y_test)


def _channels_first(x: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def _dataset(
    name: str,
    x: NDArray[np.generic],
    y: NDArray[np.int64],
    x_test: NDArray[np.generic],
    y_test: NDArray[np.int64],
) -> Dataset:
    return Dataset(name, x, y, x_test, y_test, classes=10, scale=2 / 255, shift=-1.0)
