"""What a data set is once it is in memory: arrays, and who the examples naturally belong to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedsparse.errors import DataError

__all__ = ["Dataset"]

INPUTS = (np.dtype(np.uint8), np.dtype(np.float32), np.dtype(np.int64))
TARGETS = (np.dtype(np.int64), np.dtype(np.float32))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, training and test part, and perhaps a validation part; checked when it is made.

    Inputs become ``x.float() * scale + shift`` when a batch is gathered, so that images stay bytes in memory.

    Attributes:
        name: what the records call it.
        x: ``[N, ...]`` uint8 (images ``[N, channels, H, W]``), float32, or int64 (tokens).
        y: ``[N]`` int64 classes, ``[N, T]`` int64 (a class for every token), or float32 (regression).
        x_test: ``[M, ...]``, like ``x``.
        y_test: ``[M]``, like ``y``.
        classes: how many classes there are; the number of outputs for regression.
        groups: ``[N]`` int64, the natural client of each training example, dense ids 0..G-1; or None.
        scale: factor of the inputs.
        shift: added to the scaled inputs.
        x_validation: ``[V, ...]``, like ``x``; None where nothing is held back from training.
        y_validation: ``[V]``, like ``y``; see :func:`fedsparse.data.validation.held_back`.

    Raises:
        DataError: arrays that do not fit together.
    """

    name: str
    x: NDArray[np.generic]
    y: NDArray[np.generic]
    x_test: NDArray[np.generic]
    y_test: NDArray[np.generic]
    classes: int
    groups: NDArray[np.int64] | None = None
    scale: float = 1.0
    shift: float = 0.0
    x_validation: NDArray[np.generic] | None = None
    y_validation: NDArray[np.generic] | None = None

    def __post_init__(self) -> None:
        self._check_part("x", self.x, "y", self.y)
        self._check_part("x_test", self.x_test, "y_test", self.y_test)
        if self.x.shape[1:] != self.x_test.shape[1:] or self.y.shape[1:] != self.y_test.shape[1:]:
            self._refuse(
                f"training examples have shapes {self.x.shape[1:]} and {self.y.shape[1:]}, "
                f"test examples {self.x_test.shape[1:]} and {self.y_test.shape[1:]}; they must be the same"
            )
        if self.x.dtype != self.x_test.dtype or self.y.dtype != self.y_test.dtype:
            self._refuse(
                f"training arrays are {self.x.dtype} and {self.y.dtype}, "
                f"test arrays {self.x_test.dtype} and {self.y_test.dtype}; they must be the same"
            )
        if self.groups is not None:
            self._check_groups(self.groups)

    @property
    def example_shape(self) -> tuple[int, ...]:
        """The shape of one input, without the axis of examples."""
        return self.x.shape[1:]

    @property
    def regression(self) -> bool:
        """Whether the targets are numbers rather than classes."""
        return self.y.dtype == np.float32

    def _check_part(self, x_name: str, x: NDArray[np.generic], y_name: str, y: NDArray[np.generic]) -> None:
        if x.dtype not in INPUTS:
            self._refuse(f"{x_name} is {x.dtype}; uint8, float32 or int64 is allowed")
        if y.dtype not in TARGETS:
            self._refuse(f"{y_name} is {y.dtype}; int64 (classes) or float32 (regression) is allowed")
        if x.ndim < 2 or y.ndim < 1 or len(x) != len(y) or len(x) == 0:
            self._refuse(
                f"{x_name} has shape {x.shape} and {y_name} has shape {y.shape}; "
                f"both need the same number of examples, at least one, and inputs need a feature axis"
            )
        for name, array in ((x_name, x), (y_name, y)):
            if array.dtype == np.float32 and not np.isfinite(array).all():
                self._refuse(f"{name} holds values that are not finite; replace them before training")
        if y.dtype == np.int64 and not (int(y.min()) >= 0 and int(y.max()) < self.classes):
            self._refuse(f"{y_name} runs from {y.min()} to {y.max()}; classes are 0 to {self.classes - 1}")

    def _check_groups(self, groups: NDArray[np.int64]) -> None:
        if groups.shape != (len(self.x),) or groups.dtype != np.int64:
            self._refuse(
                f"groups is {groups.dtype} of shape {groups.shape}; int64 of shape ({len(self.x)},) is needed"
            )
        if int(groups.min()) < 0 or int(groups.max()) >= len(groups) or (np.bincount(groups) == 0).any():
            self._refuse("the ids in groups have gaps; they must be dense, 0 to G-1, each with an example")

    def _refuse(self, reason: str) -> None:
        raise DataError(f"data set {self.name!r}: {reason}")
