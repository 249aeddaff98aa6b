"""Every client holds a random sample of the whole, of the same size but for one example."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.dataset import Dataset
from fedsparse.data.partitions._common import require_clients, rng_of

__all__ = ["divide"]


def divide(dataset: Dataset, clients: int, seed: int) -> NDArray[np.int64]:
    """Deal the shuffled examples to the clients in turn."""
    require_clients(dataset, clients)
    owner = np.empty(len(dataset.x), dtype=np.int64)
    owner[rng_of(seed).permutation(len(owner))] = np.arange(len(owner)) % clients
    return owner
