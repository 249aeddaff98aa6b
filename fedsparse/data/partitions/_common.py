"""What partitions share: their stream, their refusals, and the promise of a minimum for every client."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.checks import whole
from fedsparse.data.dataset import Dataset
from fedsparse.errors import DataError
from fedsparse.rng import stream

__all__ = ["labels_of", "level_up", "require_clients", "rng_of"]


def rng_of(seed: int) -> np.random.Generator:
    """The stream of a run's partition."""
    return stream(seed, "partition")


def require_clients(dataset: Dataset, clients: int, each: int = 1) -> None:
    """Require a number of clients of whom everyone can have ``each`` examples.

    Raises:
        ConfigError: less than one client.
        DataError: too few examples.
    """
    whole("clients", clients, 1)
    n = len(dataset.x)
    if clients * each > n:
        raise DataError(
            f"{clients:,} clients need at least {clients * each:,} training examples for {each} each, and "
            f"data set {dataset.name!r} has {n:,}; use at most {n // each:,} clients"
        )


def labels_of(
    dataset: Dataset, partition: str, instead: str = "use iid, quantity or natural"
) -> NDArray[np.int64]:
    """One label for each example.

    Args:
        dataset: what is divided.
        partition: who asks.
        instead: what to do where there are none.

    Raises:
        DataError: the targets are numbers, or one for every token.
    """
    y = dataset.y
    if y.ndim != 1 or y.dtype != np.int64:
        raise DataError(
            f"partition {partition!r} needs one label for each example, and data set {dataset.name!r} "
            f"has targets {y.dtype} of shape {y.shape}; {instead}"
        )
    return y.astype(np.int64)


def level_up(
    owner: NDArray[np.int64], clients: int, minimum: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Give every client at least ``minimum`` examples, taken from the largest clients.

    The largest clients are cut down to one common size, the highest that frees enough; of those cut, the last
    ones by id keep one more if it frees too much. Which of their examples go is drawn; the poor clients are
    served in the order of their ids.

    Args:
        owner: ``[N]``, all owned.
        clients: the number of clients, at most ``N / minimum``.
        minimum: examples that each client has afterwards.
        rng: draws which examples move.

    Returns:
        ``[N]``, a new array.
    """
    sizes = np.bincount(owner, minlength=clients)
    lacking = np.maximum(minimum - sizes, 0)
    surplus = _surplus(sizes, int(lacking.sum()))
    order = rng.permutation(len(owner))
    order = order[np.argsort(owner[order], kind="stable")]
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    moved = order[rank < surplus[owner[order]]]
    result = owner.copy()
    result[moved] = np.repeat(np.arange(clients), lacking)
    return result


def _surplus(sizes: NDArray[np.int64], needed: int) -> NDArray[np.int64]:
    low, high = 0, int(sizes.max())
    while low < high:
        cap = (low + high + 1) // 2
        low, high = (cap, high) if np.maximum(sizes - cap, 0).sum() >= needed else (low, cap - 1)
    surplus = np.maximum(sizes - low, 0)
    excess = int(surplus.sum()) - needed
    givers = np.flatnonzero(surplus)
    surplus[givers[len(givers) - excess :]] -= 1
    return surplus
