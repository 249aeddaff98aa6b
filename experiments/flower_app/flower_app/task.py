"""What is trained, and on what: yours to change."""

from pathlib import Path

import numpy as np
from torch import nn

from fedsparse.data import Dataset


def load(data_dir: Path | None, seed: int, *, examples: int = 600) -> Dataset:
    """The data set: on a device with partition=own, what this device has; otherwise the whole, which is divided.

    Args:
        data_dir: the folder of the device's data (``--node-config 'data-dir="..."'``); without one, blobs are drawn.
        seed: the run's seed.
        examples: how many blobs.
    """
    if data_dir is not None:
        files = np.load(data_dir / "data.npz")
        x, y = files["x"].astype(np.float32), files["y"].astype(np.int64)
    else:
        draw = np.random.default_rng(seed)
        y = draw.integers(0, 4, examples)
        x = (3 * np.eye(20)[y] + draw.normal(size=(examples, 20))).astype(np.float32)
    cut = len(x) // 5
    return Dataset("mine", x[cut:], y[cut:], x[:cut], y[:cut], classes=4)


class Net(nn.Sequential):
    """The model; its initial weights follow from the run's seed."""

    def __init__(self, example_shape: tuple[int, ...], classes: int, width: int = 32) -> None:
        super().__init__(nn.Linear(example_shape[0], width), nn.ReLU(), nn.Linear(width, classes))
