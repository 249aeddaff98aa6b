"""The clients that the data set came with: people, roles, writers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.checks import one_of, whole
from fedsparse.data.dataset import Dataset
from fedsparse.data.partitions._common import rng_of
from fedsparse.errors import DataError

__all__ = ["divide"]


def divide(dataset: Dataset, clients: int, seed: int, *, fewer: str = "merge") -> NDArray[np.int64]:
    """Give each natural client's examples to a client.

    Args:
        dataset: a set with natural clients.
        clients: how many; 0 for all natural clients, with their own numbers. With fewer clients, the natural
            ones are put in a drawn order.
        seed: the run's seed.
        fewer: what happens then: ``merge`` deals them to the clients in turn, so that some hold the examples
            of several; ``drop`` keeps the first ones and leaves out the others' examples.
    """
    whole("clients", clients, 0)
    one_of("fewer", fewer, ("merge", "drop"))
    if dataset.groups is None:
        raise DataError(
            f"data set {dataset.name!r} has no natural clients; use iid, dirichlet, shards or quantity"
        )
    natural = int(dataset.groups.max()) + 1
    if clients > natural:
        raise DataError(
            f"data set {dataset.name!r} has {natural:,} natural clients, and {clients:,} are wanted; "
            f"use at most {natural:,}, or 0 for all"
        )
    if clients in (0, natural):
        return dataset.groups
    turn = np.empty(natural, dtype=np.int64)
    turn[rng_of(seed).permutation(natural)] = np.arange(natural)
    client = turn % clients if fewer == "merge" else np.where(turn < clients, turn, -1)
    owner: NDArray[np.int64] = client[dataset.groups]
    return owner
