"""Problems given by formulas instead of examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from fedsparse.data.dataset import Dataset
    from fedsparse.data.holdings import Partition
    from fedsparse.rng import Streams

__all__ = ["Constants", "Divisible", "Problem", "relative"]


@dataclass(frozen=True)
class Constants:
    """What theory asks of a problem: constants of the clients' gradients F_i and of their mean F.

    Attributes:
        mu: strong convexity (of an operator: strong monotonicity), <F(x) - F(y), x - y> >= mu ||x - y||^2.
        L: ||F(x) - F(y)|| <= L ||x - y||.
        L_max: the largest L_i of a client.
        L_rms: sqrt(mean L_i^2).
    """

    mu: float
    L: float
    L_max: float
    L_rms: float


@runtime_checkable
class Problem(Protocol):
    """What :func:`fedsparse.simulate` accepts as ``problem``.

    Optional members: ``sizes`` (examples of each client ``[N]``, for weighted means; 1 each by default), ``shapes``
    (the tensors in ``x`` by name, whose sizes add up to d; one called ``x`` by default),
    ``loss(ids, x) -> [C]``, ``full_gradient(ids, x) -> [C, d]`` (where ``gradient`` is a minibatch's),
    ``evaluate(x) -> {name: number}`` for ``x [d]``, ``optimum [d]``, the minimiser of the mean of all losses,
    ``constants``, the :class:`Constants` where they are known, and ``problem_class``, ``"operators"`` where what
    ``gradient`` gives is a monotone operator and not the gradient of a loss (``"minimisation"`` by default).
    """

    @property
    def clients(self) -> int:
        """How many clients there are."""

    @property
    def start(self) -> Tensor:
        """Where everybody starts, ``[d]``; its dtype is that of the whole run."""

    def gradient(self, ids: Tensor, x: Tensor, draw: Streams) -> Tensor:
        """Gradients ``[C, d]`` of the clients ``ids [C]`` at ``x [C, d]``; of a saddle problem their operators.

        An operator is the gradient in the block that minimises and minus the gradient in the one that maximises.
        Rows must not depend on each other. ``draw`` has a stream for each client and step: random numbers for a
        minibatch or for noise; the same step of a round gives the same ones at any point.
        """


@dataclass(frozen=True)
class Divisible:
    """A problem over examples, as long as nobody has said which client holds which.

    Attributes:
        dataset: the examples, which any partition divides.
        over: makes the problem of a partition and a number of examples of a minibatch (0 for all).
    """

    dataset: Dataset
    over: Callable[[Partition, int], Problem]


def relative(vector: Tensor, start: Tensor) -> float:
    """The norm of ``vector [d]``, where ``start [d]`` is what it was at first."""
    return math.sqrt(float(vector.square().sum() / start.square().sum()))
