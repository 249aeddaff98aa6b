"""A data set is checked when it is made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedsparse.data import Dataset
from fedsparse.errors import DataError


@pytest.fixture
def good() -> Dataset:
    x, y = np.zeros((4, 2), np.float32), np.array([0, 1, 2, 1])
    return Dataset("tiny", x, y, x[:2], y[:2], classes=3, groups=np.array([0, 0, 1, 1]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"y": np.array([0, 1, 2])}, "same number of examples"),
        ({"y": np.array([0, 1, 3, 0])}, "y runs from 0 to 3; classes are 0 to 2"),
        ({"y": np.array([0, -1, 1, 0])}, "y runs from -1 to 1"),
        ({"x": np.zeros((4, 2))}, "x is float64; uint8, float32 or int64"),
        ({"y": np.zeros(4, np.int32)}, "y is int32"),
        ({"x": np.full((4, 2), np.nan, np.float32)}, "x holds values that are not finite"),
        ({"x": np.zeros((4, 3), np.float32)}, "must be the same"),
        ({"x": np.zeros((4, 2), np.uint8)}, "training arrays are uint8"),
        ({"x_test": np.zeros((0, 2), np.float32), "y_test": np.zeros(0, np.int64)}, "at least one"),
        ({"groups": np.array([0, 0, 2, 2])}, "must be dense"),
        ({"groups": np.array([0, 0, 1])}, "groups is int64 of shape (3,)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(good: Dataset, change: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(DataError) as caught:
        replace(good, **change)
    assert said in str(caught.value)
    assert "'tiny'" in str(caught.value)


def test_float_targets_mean_regression(good: Dataset) -> None:
    y = np.array([0.5, 1.5, -2.0, 0.0], np.float32)
    assert replace(good, y=y, y_test=y[:2], classes=1).regression
    assert not good.regression
