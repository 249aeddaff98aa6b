"""What a linear layer's weights are the sum of during a window of steps, but for the gradients of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fedsparse.cohort.rule import Table
from fedsparse.cohort.weights import Term, Weights, summed

__all__ = ["Carried", "Terms"]


class Terms(NamedTuple):
    """A sum that is carried out, and terms that are not."""

    base: Weights
    apart: list[Term]


class Carried:
    """The weights at the start and where the window begins, the velocity there, and what is added to every gradient.

    Args:
        table: of the rule: what each of them counts after so many steps.
        start: weights at the start.
        shifts: factors, and what is added to every gradient.
        apart: likewise; for what every client has its own of, and is never added to the weights before a product.
    """

    def __init__(self, table: Table, start: Weights, shifts: Sequence[Term], apart: Sequence[Term]) -> None:
        self.start, self.apart = start, apart
        self._table, self._shifts = table, shifts
        # At first the point is the start, and nothing moves.
        self._point: Weights | None = None
        self._velocity: Weights | None = None
        self._terms = Terms(start, [])
        self._factors: tuple[float, ...] = ()  # of these terms

    def begin(self, point: Weights, velocity: Weights | None) -> None:
        """A window begins at this point, with this velocity."""
        self._point, self._velocity, self._factors = point, velocity, ()

    def at(self, step: int) -> Terms:
        """The weights of this step of the window but for its gradients."""
        factors = self._factors_at(step)
        if factors != self._factors:
            apart = [(factors[3] * factor, w) for factor, w in self.apart]
            self._terms = Terms(summed(self._carried(factors)), [term for term in apart if term[0]])
            self._factors = factors
        return self._terms

    def steady(self, steps: int) -> bool:
        """Whether these terms are the same in so many steps."""
        return len({self._factors_at(step) for step in range(steps)}) == 1

    def terms(self, factors: Sequence[Any], less_start: bool) -> list[tuple[Any, Weights]]:
        """Everything, with factors that are numbers, or ``[C]``; without the weights at the start if it says so."""
        first, *others = self._carried(factors)
        if less_start:
            first = (first[0] - 1, self.start)
        return [first, *others, *((factors[3] * sign, w) for sign, w in self.apart)]

    def _carried(self, factors: Sequence[Any]) -> list[tuple[Any, Weights]]:
        """What is added up before a product."""
        point, velocity, centre, shift = factors
        terms = [(point + centre, self.start)]
        if self._point is not None:
            terms = [(point, self._point), (centre, self.start)]
        if self._velocity is not None:
            terms.append((velocity, self._velocity))
        return [*terms, *((shift * factor, w) for factor, w in self._shifts)]

    def _factors_at(self, step: int) -> tuple[float, float, float, float]:
        """Of the point, velocity and centre before the window, and of the shift; zero for what there is not."""
        point, velocity, centre, shift = self._table.factors[step]
        moving, shifted = self._velocity is not None, bool(self._shifts or self.apart)
        return point, velocity if moving else 0.0, centre, shift if shifted else 0.0
