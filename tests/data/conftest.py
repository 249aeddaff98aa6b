"""Tests of data sets see no data folder unless they ask for one."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

REAL = os.environ.get("FEDSPARSE_DATA", "")


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDSPARSE_DATA", raising=False)


@pytest.fixture
def real_data() -> Callable[[str], str]:
    """Gives the real data folder if it has a set's subfolder, and skips the test otherwise."""

    def folder(name: str) -> str:
        if not REAL:
            pytest.skip("FEDSPARSE_DATA is not set")
        if not (Path(REAL) / name).is_dir():
            pytest.skip(f"{REAL} has no {name} folder")
        return REAL

    return folder


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    raw = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


@pytest.fixture
def tiny_mnist() -> Callable[..., dict[str, np.ndarray]]:
    """Writes four small idx files into a folder and gives back what is in them."""

    def write(folder: Path, suffix: str = ".gz") -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {}
        for part, n in (("train", 20), ("t10k", 6)):
            arrays[f"{part}-images-idx3"] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
            arrays[f"{part}-labels-idx1"] = rng.integers(0, 10, n, dtype=np.uint8)
        for stem, array in arrays.items():
            write_idx(folder / f"{stem}-ubyte{suffix}", array)
        return arrays

    return write
