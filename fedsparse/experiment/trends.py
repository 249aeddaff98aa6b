"""What an experiment expects to see, as statements that can be checked."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fedsparse.errors import ConfigError
from fedsparse.experiment.curve import Curve
from fedsparse.report.axes import AXES, Axis
from fedsparse.units import amount, bytes_text, number_text
from fedsparse.words import there_are

__all__ = ["Seen", "Trend", "status", "value_text"]

_JITTER = 0.01
"""By what share of a budget messages of nearly equal size may exceed it where budgets are to be equal."""


@dataclass(frozen=True)
class Seen:
    """A trend, held against results.

    Attributes:
        says: the statement.
        found: the two figures.
        holds: whether it does.
    """

    says: str
    found: str
    holds: bool


@dataclass(frozen=True)
class Trend:
    """A figure of a method is below or above a number, or the same figure of another method.

    The figure is the mean over seeds of the metric at the end. With ``at`` it is the metric within a budget; with
    ``to`` it is the cost until all seeds had reached a value, infinite where that never was.

    Attributes:
        method: a label.
        below: a number, or the label of another method.
        above: likewise; one of the two is given.
        at: a budget on the experiment's axis, such as ``100kB``, or ``equal``: what the cheaper of both has spent. The
            other may then spend 1 % more: lengths of entropy-coded messages differ by as much from seed to seed, and
            an evaluation that a few bytes set apart is one at equal cost.
        to: a value of the metric.
        times: factor on the other side.
        plus: is added to the other side.
        metric: another one than the experiment's, or a figure of ``summary.json``, such as ``scalars.kept.mean``.
        panel: where; by default wherever the method takes part.
    """

    method: str
    below: float | str | None = None
    above: float | str | None = None
    at: str | float | None = None
    to: float | None = None
    times: float = 1.0
    plus: float = 0.0
    metric: str | None = None
    panel: str | None = None

    @property
    def _bound(self) -> float | str:
        bound = self.above if self.below is None else self.below
        assert bound is not None  # noqa: S101 - checked when it was read
        return bound

    def check(self, methods: Sequence[str], panels: Sequence[str], where: str) -> None:
        """Refuses what makes no sense.

        Raises:
            ConfigError: says what.
        """
        where = f"{where}: expected of {self.method}"
        if (self.below is None) == (self.above is None):
            raise ConfigError(f"{where}: give one of below and above")
        for label in (self.method, self._bound):
            if isinstance(label, str) and label not in methods:
                raise ConfigError(f"{where}: '{label}' is no method{there_are(label, methods)}")
        if self.panel is not None and self.panel not in panels:
            raise ConfigError(f"{where}: panel '{self.panel}'{there_are(self.panel, panels)}")
        if self.at is not None and self.to is not None:
            raise ConfigError(f"{where}: give at or to, not both")
        if self.at == "equal" and not isinstance(self._bound, str):
            raise ConfigError(f"{where}: at: equal needs another method to compare with")
        if self.at not in (None, "equal") and amount(str(self.at)) is None:
            raise ConfigError(f"{where}: at: {self.at} must be an amount, such as 100kB, or equal")

    def seen(self, curves: Sequence[Curve], metric: str, axis: str, called: str = "") -> list[Seen]:
        """The statement on each panel where the method has a curve.

        Args:
            curves: of all methods.
            metric: the experiment's.
            axis: the name of its cost.
            called: what to call the metric; by default its name.
        """
        name = self.metric or metric
        text = called if called and name == metric else name
        own = [
            c for c in curves if (c.method, c.metric) == (self.method, name) and self.panel in (None, c.panel)
        ]
        return [self._on(curve, curves, AXES[axis], text) for curve in own]

    def _on(self, own: Curve, curves: Sequence[Curve], axis: Axis, called: str) -> Seen:
        bound, other = self._bound, None
        if isinstance(bound, str):
            place = own.panel, bound, own.metric
            other = next((c for c in curves if (c.panel, c.method, c.metric) == place), None)
        budget = min(own.spent, other.spent) if self.at == "equal" and other else amount(str(self.at))
        value, limit = self._figure(own, budget), self._limit(other, budget)
        side = "above" if self.below is None else "below"
        holds = value > limit if self.below is None else value < limit
        who = f"{own.panel}, {own.method}" if own.panel else own.method
        found = self._text(value, axis)
        if isinstance(bound, str):
            found += f" against {self._text(limit, axis)}"
        return Seen(f"{who}: {self._what(called, budget, axis)} {side} {self._limit_text()}", found, holds)

    def _limit(self, other: Curve | None, budget: float | None) -> float:
        if other is None:
            return math.nan if isinstance(self._bound, str) else self.times * self._bound + self.plus
        return self.times * self._figure(other, budget) + self.plus

    def _figure(self, curve: Curve, budget: float | None) -> float:
        if self.to is not None:
            return curve.to(self.to)
        if budget is None:
            return curve.end
        return curve.at(budget, _JITTER) if self.at == "equal" else curve.at(budget)

    def _what(self, called: str, budget: float | None, axis: Axis) -> str:
        if self.to is not None:
            return f"{axis.label} to {called} {self.to:g}"
        return f"{called} " + ("at the end" if budget is None else f"within {axis.text(budget)}")

    def _limit_text(self) -> str:
        bound = self._bound if isinstance(self._bound, str) else f"{self._bound:g}"
        factor = f"{self.times:g} times " if self.times != 1 else ""
        return factor + bound + (f" {'+' if self.plus > 0 else '-'} {abs(self.plus):g}" if self.plus else "")

    def _text(self, value: float, axis: Axis) -> str:
        if not math.isfinite(value):
            return "never" if self.to is not None else "diverged" if math.isinf(value) else "no value"
        return axis.text(value) if self.to is not None else value_text(self.metric or "", value)


def value_text(metric: str, value: float) -> str:
    """A value of a metric or figure for people; one whose name says bytes is an amount of them."""
    return (bytes_text if "bytes" in re.split("[^a-z]+", metric) else number_text)(value)


def status(seen: Sequence[Seen]) -> str:
    """``holds``, ``partly``, ``does not hold``; ``not judged`` where nothing was expected."""
    if not seen:
        return "not judged"
    held = sum(each.holds for each in seen)
    return "holds" if held == len(seen) else "partly" if held else "does not hold"
