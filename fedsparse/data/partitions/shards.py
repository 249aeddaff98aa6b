"""Label skew by shards: the examples are sorted by label and cut, and everyone holds a few of the pieces.

Source: H. B. McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data",
AISTATS 2017 (two shards a client: most clients see two digits).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.checks import whole
from fedsparse.data.dataset import Dataset
from fedsparse.data.partitions._common import labels_of, require_clients, rng_of

__all__ = ["divide"]


def divide(dataset: Dataset, clients: int, seed: int, *, per_client: int = 2) -> NDArray[np.int64]:
    """Sort by label, cut into ``clients * per_client`` shards, equal but for one example, and deal them.

    Args:
        dataset: what is divided; one label for each example.
        clients: the number of clients.
        seed: the run's seed.
        per_client: shards of each client.
    """
    whole("per_client", per_client, 1)
    require_clients(dataset, clients, per_client)
    labels, rng = labels_of(dataset, "shards"), rng_of(seed)
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    shards = clients * per_client
    shard = np.arange(len(labels)) * shards // len(labels)
    owner = np.empty(len(labels), dtype=np.int64)
    owner[order] = (rng.permutation(shards) // per_client)[shard]
    return owner
