"""Which examples each client uses in each local step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedsparse import rng

__all__ = ["Batches", "padded"]


def padded(rows: int) -> int:
    """The next larger number of a few, at most a quarter more: clients of nearly equal sizes go side by side."""
    unit = 1
    while rows > 8 * unit:
        unit *= 2
    return max(4, -(-rows // unit) * unit)


class Batches:
    """Minibatches of C clients in one round.

    A client goes through its own examples in a random order, anew in every pass; the last minibatch of a pass may be
    smaller. The order is keyed by (seed, round, client), so a step names the same minibatch at any point of the round.
    """

    def __init__(self, seed: int, round: int, ids: Sequence[int], sizes: np.ndarray, batch: int) -> None:  # noqa: A002
        """Args: the run's seed; the round; clients' ids and numbers of examples ``[C]``; examples a step, 0 for all."""
        self.sizes = np.asarray(sizes, dtype=np.int64)
        self.batch = np.minimum(self.sizes, batch) if batch > 0 else self.sizes
        self.per_epoch = -(-self.sizes // np.maximum(self.batch, 1))
        self._name = (seed, round)
        self._ids = [int(i) for i in ids]
        self._passes: list[list[np.ndarray]] = [[] for _ in self._ids]
        self._generators: list[np.random.Generator | None] = [None] * len(self._ids)

    def of(self, client: int, step: int) -> np.ndarray:
        """Positions among the client's own examples, ``[at most batch]``; ``client`` counts within this call."""
        size, batch = int(self.sizes[client]), int(self.batch[client])
        if batch == size:
            return np.arange(size)
        epoch, k = divmod(step, int(self.per_epoch[client]))
        return self._order(client, epoch)[k * batch : (k + 1) * batch]

    def span(self, client: int, steps: range) -> np.ndarray | None:
        """The same for several steps in a row; ``None`` where they are not whole minibatches of one pass."""
        size, batch, count = int(self.sizes[client]), int(self.batch[client]), len(steps)
        if batch == size:
            return None
        epoch, k = divmod(steps.start, int(self.per_epoch[client]))
        if (k + count) * batch > size:
            return None
        return self._order(client, epoch)[k * batch : (k + count) * batch]

    def _order(self, client: int, epoch: int) -> np.ndarray:
        passes = self._passes[client]
        while len(passes) <= epoch:
            generator = self._generators[client]
            if generator is None:
                seed, round_ = self._name
                generator = self._generators[client] = rng.stream(seed, "batches", round_, self._ids[client])
            passes.append(generator.permutation(int(self.sizes[client])))
        return passes[epoch]
