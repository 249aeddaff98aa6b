"""Handwritten digits, 1,797 real images of 8x8 pixels in 17 grey levels: needs no files, trains in seconds.

The test part of the UCI optical digits. Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten
Digits", UCI Machine Learning Repository, 1998 (CC BY 4.0).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fedsparse.data.dataset import Dataset
from fedsparse.data.files import read_arrays
from fedsparse.data.split import stratified

__all__ = ["load"]

EMBEDDED = Path(__file__).parent.parent / "digits.npz"


def load(data_dir: Path | None, seed: int) -> Dataset:  # noqa: ARG001 - the same for every folder and seed
    """The 1,437 training and 360 test images, stratified by digit; the same split in every run."""
    arrays = read_arrays(EMBEDDED, x=(None, 8, 8), y=(None,))
    x, y = arrays["x"][:, None], arrays["y"].astype(np.int64)
    train, test = stratified(y, 0.2, "digits")
    return Dataset("digits", x[train], y[train], x[test], y[test], classes=10, scale=1 / 16)
