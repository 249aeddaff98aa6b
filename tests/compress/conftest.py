"""What the compressor tests share: a context, and the vector whose constants are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsparse.rng import Streams


class Clients:
    """The part of a context that compressors use."""

    def __init__(self, ids: Iterable[int], seed: int = 1, round: int = 0) -> None:  # noqa: A002
        self.ids, self.seed, self.round = list(ids), seed, round

    def rng(self, purpose: str) -> Streams:
        return Streams(self.seed, purpose, self.round, self.ids)


@pytest.fixture
def clients() -> Callable[..., Clients]:
    return Clients


@pytest.fixture
def x40() -> Tensor:
    """``[1, 40]`` float64."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal(40))[None]


@pytest.fixture(scope="session")
def gaussian() -> Tensor:
    """``[1, 1e6]`` float32."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal(10**6).astype(np.float32))[None]
