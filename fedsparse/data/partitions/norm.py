"""Feature skew: the examples are sorted by the norm of their inputs and cut into equal pieces, one for each client."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.dataset import Dataset
from fedsparse.data.partitions._common import require_clients, rng_of

__all__ = ["divide"]


def divide(dataset: Dataset, clients: int, seed: int) -> NDArray[np.int64]:
    """Give each client the next of the sorted examples, all as many but for one.

    Args:
        dataset: what is divided; inputs of any shape.
        clients: the number of clients.
        seed: the run's seed; it orders examples of equal norm.
    """
    require_clients(dataset, clients)
    count = len(dataset.x)
    flat = dataset.x.reshape(count, -1).astype(np.float64) * dataset.scale + dataset.shift
    order = rng_of(seed).permutation(count)
    order = order[np.argsort(np.einsum("nd,nd->n", flat, flat)[order], kind="stable")]
    owner = np.empty(count, dtype=np.int64)
    owner[order] = np.arange(count) * clients // count
    return owner
