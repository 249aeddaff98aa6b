"""BatchNorm statistics of a model by itself: means over minibatches that go through it in training mode.

Those that training ends with are of other models: of the points on the way, and averages are of different clients'.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedsparse import rng
from fedsparse.cohort.examples import Examples

__all__ = ["Calibration", "mean_of"]

_MOST = 250
"""Examples of a minibatch at most; fixed, so that results do not depend on who computes them."""


@dataclass(frozen=True)
class Calibration:
    """Training examples on which the statistics of an evaluated model are estimated: the same in all evaluations.

    Every example that a client holds is as likely as any other, as in the loss that is minimised; none comes twice.

    Attributes:
        seed: of the run.
        count: how many; all where there are fewer.
    """

    seed: int
    count: int

    def minibatches(self, total: int) -> int:
        """How many there are, of ``total`` examples of all clients."""
        return -(-min(self.count, total) // _MOST)

    def positions(self, examples: Examples, minibatch: int) -> np.ndarray:
        """The examples of one minibatch ``[B]``: positions in the training part."""
        count = min(self.count, examples.total)
        drawn = rng.stream(self.seed, "calibration").choice(examples.total, count, replace=False)
        own = np.array_split(drawn, self.minibatches(examples.total))[minibatch]
        ends = np.cumsum(examples.sizes(torch.arange(examples.clients)).numpy())
        owners = np.searchsorted(ends, own, side="right")
        found = np.empty_like(own)
        for client in np.unique(owners):
            at = owners == client
            held = examples.own(int(client))
            found[at] = held[own[at] - (ends[client] - len(held))]
        return found

    def key(self, minibatch: int) -> int:
        """What seeds the dropout of one minibatch."""
        return rng.seed64(self.seed, "calibration", minibatch)


def mean_of(statistics: Iterable[Tensor]) -> Tensor:
    """The mean over minibatches, summed in their order; at least one."""
    total, count = None, 0
    for found in statistics:
        total = found.clone() if total is None else total.add_(found)
        count += 1
    if total is None:
        raise ValueError("mean_of: there is no minibatch")
    return total / count
