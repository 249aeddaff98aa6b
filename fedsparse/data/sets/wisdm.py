"""WISDM v1.1: six activities, 43 features a window, from phones in 36 people's pockets; a client is a person.

Source: J. Kwapisz, G. Weiss, S. Moore, "Activity Recognition using Cell Phone Accelerometers", SensorKDD,
2010.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.checks import within
from fedsparse.data.dataset import Dataset
from fedsparse.data.files import Files, read_arrays
from fedsparse.data.split import dense_ids, stratified

__all__ = ["FILES", "load"]

FILES = Files(
    name="wisdm",
    folders=("wisdm", "."),
    origin="It holds the arrays x [N, 43] (NaN where a value is unknown), y and user of the transformed "
    "WISDM v1.1 data, see www.cis.fordham.edu/wisdm/dataset.php",
)


def load(data_dir: Path | None, seed: int, *, test_fraction: float = 0.2) -> Dataset:  # noqa: ARG001 - fixed split
    """Read the windows. Unknown values become their column's mean, then columns get mean 0 and deviation 1.

    Means and deviations are those of the training part.

    Args:
        data_dir: the data folder.
        seed: not used.
        test_fraction: share of every person's windows that is the test part, the same in every run.
    """
    within("test_fraction", test_fraction, 0, 0.9, open_low=True)
    path = FILES.find(data_dir, "wisdm_v1_1_transformed.npz")
    arrays = read_arrays(path, x=(None, 43), y=(None,), user=(None,))
    y, person = arrays["y"].astype(np.int64), dense_ids(arrays["user"])
    train, test = stratified(person, test_fraction, "wisdm")
    x = _standardised(arrays["x"].astype(np.float64), train)
    return Dataset("wisdm", x[train], y[train], x[test], y[test], classes=6, groups=person[train])


def _standardised(x: NDArray[np.float64], train: NDArray[np.int64]) -> NDArray[np.float32]:
    mean = np.nanmean(x[train], axis=0)
    x = np.where(np.isnan(x), mean, x)
    deviation = x[train].std(axis=0)
    scaled: NDArray[np.float32] = ((x - mean) / np.where(deviation > 0, deviation, 1.0)).astype(np.float32)
    return scaled
