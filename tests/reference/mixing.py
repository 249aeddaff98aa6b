"""What the transcriptions of gossip share: weights, what a loss does to them, and the record of a run.

W[i, j] is the weight that receiver i gives to sender j. A matrix [n, n] holds for all exchanges; [T, n, n] has one
for each. In the same way `lost[t, i, j]` says that in exchange t the message from j to i does not arrive; nobody
loses what it tells itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .common import Gradient, local_steps
from .compressors import Compress
from .toys import Array

Lost = NDArray[np.bool_]
Rule = Callable[[Array, Lost], Array]


@dataclass(frozen=True)
class GossipTrace:
    """A run: the nodes' models x^0 .. x^T [T + 1, n, d], and their other vectors, as often, by the papers' names."""

    x: Array
    states: dict[str, Array]

    @property
    def last(self) -> Array:
        """x^T, [n, d]."""
        return self.x[-1]

    @property
    def mean(self) -> Array:
        """The mean model after each round, [T + 1, d]."""
        return self.x.mean(1)


class Recorder:
    """Keeps copies of what is named, once for each round; `x` is the model."""

    def __init__(self, **first: Array) -> None:
        self._kept: dict[str, list[Array]] = {name: [] for name in first}
        self.add(**first)

    def add(self, **values: Array) -> None:
        """What the round left."""
        for name, value in values.items():
            self._kept[name].append(np.array(value, dtype=np.float64))

    def trace(self) -> GossipTrace:
        """All rounds."""
        states = {name: np.stack(kept) for name, kept in self._kept.items()}
        return GossipTrace(states.pop("x"), states)


def weights(W: Array, exchange: int) -> Array:
    """W of one exchange, [n, n]."""
    return W if W.ndim == 2 else W[exchange]


def losses(lost: Lost | None, exchange: int, nodes: int) -> Lost:
    """Which messages are lost in one exchange, [n, n]."""
    if lost is None:
        return np.zeros((nodes, nodes), dtype=bool)
    return lost[exchange] & ~np.eye(nodes, dtype=bool)


def latest(W: Array, lost: Lost) -> Array:
    """The weight of a lost message goes to the receiver's own: rows keep their sums."""
    taken = np.where(lost, W, 0.0)
    return W - taken + np.diag(taken.sum(1))


def kept(W: Array, lost: Lost) -> Array:
    """The share of a lost message stays with its sender: columns keep their sums."""
    taken = np.where(lost, W, 0.0)
    return W - taken + np.diag(taken.sum(0))


def renormalised(W: Array, lost: Lost) -> Array:
    """The weights of the messages that arrived, scaled to their former sum."""
    arrived = np.where(lost, 0.0, W)
    return arrived * (W.sum(1) / arrived.sum(1))[:, None]


def realised(W: Array, lost: Lost | None, exchange: int, rule: Rule = latest) -> Array:
    """The weights of one exchange, after its losses, [n, n]."""
    now = weights(W, exchange)
    return now if lost is None else rule(now, losses(lost, exchange, len(now)))


def uniform_over(heard: NDArray[np.bool_]) -> Array:
    """Each row uniform over the node itself and those it hears, [n, n] or [T, n, n]."""
    everyone = heard | np.eye(heard.shape[-1], dtype=bool)
    return everyone / everyone.sum(-1, keepdims=True)


def gradients(gradient: Gradient, x: Array) -> Array:
    """Everyone's gradient at its own model, [n, d]."""
    return np.stack([gradient(i, row) for i, row in enumerate(x)])


def trained(gradient: Gradient | None, x: Array, lr: float, steps: int = 1) -> Array:
    """Everyone's model after its local steps, [n, d]; without a gradient it stays."""
    if gradient is None:
        return x
    return np.stack([local_steps(gradient, i, row, lr, steps) for i, row in enumerate(x)])


def compressed(compress: Compress, t: int, x: Array) -> Array:
    """Everyone's vector compressed, in ascending order of the nodes, [n, d]."""
    return np.stack([compress(t, i, row) for i, row in enumerate(x)])


def rates(lr: float | Sequence[float] | Array, rounds: int) -> Array:
    """The step size of each round, [T]."""
    return np.broadcast_to(np.asarray(lr, dtype=np.float64), rounds)


def disagreement(x: Array) -> Array:
    """Squared distance of all nodes from their mean, of [n, d] or of each round."""
    return ((x - x.mean(-2, keepdims=True)) ** 2).sum((-2, -1))
