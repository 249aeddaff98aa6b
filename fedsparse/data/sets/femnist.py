"""Digits of NIST Special Database 19 from twelve given clients, 5,997 images of 28x28 pixels.

The clients are those of the file; each holds several writers, so this is not LEAF's split by writer.

Source: G. Cohen, S. Afshar, J. Tapson, A. van Schaik, "EMNIST", 2017; S. Caldas et al., "LEAF",
arXiv:1812.01097.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fedsparse.data.checks import within
from fedsparse.data.dataset import Dataset
from fedsparse.data.files import Files, read_arrays
from fedsparse.data.split import dense_ids, stratified

__all__ = ["FILES", "load"]

FILES = Files(
    name="femnist",
    folders=("femnist", "."),
    origin="It holds the arrays x [N, 28, 28] uint8 (dark ink on white), y and client.",
)


def load(data_dir: Path | None, seed: int, *, test_fraction: float = 0.2) -> Dataset:  # noqa: ARG001 - fixed split
    """Read the images; they are inverted, so that ink is bright as in MNIST, and scaled to [0, 1].

    Args:
        data_dir: the data folder.
        seed: not used.
        test_fraction: share of every client's images that is the test part, the same in every run.
    """
    within("test_fraction", test_fraction, 0, 0.9, open_low=True)
    path = FILES.find(data_dir, "femnist_digits_12clients.npz")
    arrays = read_arrays(path, x=(None, 28, 28), y=(None,), client=(None,))
    x, y = 255 - arrays["x"][:, None].astype(np.uint8), arrays["y"].astype(np.int64)
    client = dense_ids(arrays["client"])
    train, test = stratified(client, test_fraction, "femnist")
    return Dataset(
        "femnist_digits",
        x[train],
        y[train],
        x[test],
        y[test],
        classes=10,
        groups=client[train],
        scale=1 / 255,
    )
