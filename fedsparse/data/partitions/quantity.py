"""Quantity skew: clients hold random samples of the whole, but some much larger ones than others.

Source: Q. Li et al., "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022, section
IV.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.checks import whole, within
from fedsparse.data.dataset import Dataset
from fedsparse.data.partitions._common import level_up, require_clients, rng_of
from fedsparse.data.split import apportion

__all__ = ["divide"]


def divide(
    dataset: Dataset, clients: int, seed: int, *, alpha: float = 0.5, minimum: int = 1
) -> NDArray[np.int64]:
    """Sizes in proportion to one draw from Dir(alpha, ..., alpha).

    Args:
        dataset: what is divided.
        clients: the number of clients.
        seed: the run's seed.
        alpha: concentration, above 0; the smaller, the more unequal.
        minimum: examples that every client has at least; the missing ones come from the largest clients.
    """
    within("alpha", alpha, 0, open_low=True)
    whole("minimum", minimum, 0)
    require_clients(dataset, clients, max(minimum, 1))
    rng, n = rng_of(seed), len(dataset.x)
    sizes = apportion(n, rng.dirichlet(np.full(clients, alpha)))
    owner = np.empty(n, dtype=np.int64)
    owner[rng.permutation(n)] = np.repeat(np.arange(clients), sizes)
    return level_up(owner, clients, minimum, rng)
