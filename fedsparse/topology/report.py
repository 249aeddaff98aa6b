"""What there is to know about a graph before it is used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedsparse.graphs import Matrices, Stochastic, require
from fedsparse.graphs.checks import stochasticity
from fedsparse.graphs.rates import contraction, half_life, sample
from fedsparse.graphs.rule import Mixing

__all__ = ["Report", "report"]

_VALUE_BYTES = 4


@dataclass(frozen=True)
class Report:
    """A graph with its mixing matrices. Of a graph that changes, numbers are over its exchanges.

    Attributes:
        rule: the name of the mixing rule; empty: the graph's own weights.
        period: exchanges until it repeats; ``None``: never.
        hears: least, mean and most neighbours that a client hears in an exchange.
        sends: the same for those that it sends to.
        stochastic: what sums to one in all of the matrices.
        contraction: ρ, see :func:`fedsparse.graphs.rates.contraction`.
        messages: of an exchange, one for each direction of each link; mean.
        bytes: of an exchange: all values of all messages as float32, before headers; mean.
    """

    rule: str
    period: int | None
    hears: tuple[int, float, int]
    sends: tuple[int, float, int]
    stochastic: Stochastic
    contraction: float
    messages: float
    bytes: float

    @property
    def gap(self) -> float:
        """The spectral gap 1 - ρ."""
        return 1 - self.contraction

    @property
    def half_life(self) -> float:
        """Exchanges until the disagreement has halved; infinite where it does not shrink."""
        return half_life(self.contraction)


def report(matrices: Matrices, parameters: int) -> Report:
    """Looks at a graph.

    Args:
        matrices: the graph with its weights.
        parameters: d, of the model that travels.

    Raises:
        ConfigError: the graph is not connected, or the rule does not suit it.
        ResourceError: it is too large to find its spectral gap.
    """
    rule = matrices.rule
    require(matrices, rule.stochastic if rule else "row")
    most = sample(matrices)
    looked_at = min(matrices.period or most, most)
    hears, sends = [], []
    for t in range(looked_at):
        W = matrices.at(t).copy()
        W.setdiag(0)
        W.eliminate_zeros()
        hears.append(np.diff(W.indptr))
        sends.append(np.bincount(W.indices, minlength=matrices.clients))
    messages = sum(int(heard.sum()) for heard in hears) / looked_at
    return Report(
        rule=rule.name if rule else "",
        period=matrices.period,
        hears=_spread(hears),
        sends=_spread(sends),
        stochastic=_weakest([stochasticity(matrices.at(t)) for t in range(looked_at)], rule),
        contraction=contraction(matrices),
        messages=messages,
        bytes=messages * _VALUE_BYTES * (parameters + (rule.extra if rule else 0)),
    )


def _spread(counts: list[np.ndarray]) -> tuple[int, float, int]:
    every = np.concatenate(counts)
    return int(every.min()), float(every.mean()), int(every.max())


def _weakest(found: list[Stochastic | None], rule: Mixing | None) -> Stochastic:
    """What holds for all matrices; what the rule promises, unless all of them have more."""
    if all(kind == "doubly" for kind in found):
        return "doubly"
    return rule.stochastic if rule else "row"
