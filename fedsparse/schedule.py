"""Hyper-parameters that change with the round: a number of a strategy may be a schedule, which the engine evaluates.

On the command line: ``strategy.lr=cosine(0.1,0.001)``, ``cubic(1,0.05)``, ``linear(0.1,0)``, ``step(0.1,0.5,30)``,
``invsqrt(0.1,10)``.
"""

from __future__ import annotations

import math
import re
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields

from fedsparse.errors import ConfigError

__all__ = ["Cosine", "Cubic", "InverseSqrt", "Linear", "Schedule", "Step", "parse"]


@dataclass(frozen=True)
class Schedule(ABC):
    """A number for each round."""

    @abstractmethod
    def at(self, round: int, rounds: int) -> float:  # noqa: A002
        """The value at ``round`` (from 0) of a run of ``rounds``."""

    def extremes(self) -> tuple[float, float]:
        """The smallest and largest value it can take; checked against the field's range."""
        ends = [getattr(self, f.name) for f in fields(self)[:2]]
        return min(ends), max(ends)

    def _within(self, value: float) -> float:
        # Rounding may carry the last value beyond the end: 0.1 - 0.1 * 3 / 3 is below zero.
        low, high = self.extremes()
        return min(max(value, low), high)


@dataclass(frozen=True)
class Linear(Schedule):
    """From ``first`` to ``last`` in equal steps."""

    first: float
    last: float = 0.0

    def at(self, round: int, rounds: int) -> float:  # noqa: A002, D102
        return self._within(self.first + (self.last - self.first) * round / max(1, rounds - 1))


@dataclass(frozen=True)
class Cosine(Schedule):
    """From ``first`` to ``last`` along half a cosine."""

    first: float
    last: float = 0.0

    def at(self, round: int, rounds: int) -> float:  # noqa: A002, D102
        progress = min(1.0, round / max(1, rounds - 1))
        return self._within(self.last + (self.first - self.last) * (1 + math.cos(math.pi * progress)) / 2)


@dataclass(frozen=True)
class Cubic(Schedule):
    """From ``first`` to ``last`` along a cubic, fast at first: the density of gradual pruning (Zhu, Gupta, 2017)."""

    first: float
    last: float = 0.0

    def at(self, round: int, rounds: int) -> float:  # noqa: A002, D102
        left = 1 - min(1.0, round / max(1, rounds - 1))
        return self._within(self.last + (self.first - self.last) * left**3)


@dataclass(frozen=True)
class Step(Schedule):
    """``first``, multiplied by ``factor`` every ``every`` rounds.

    Raises:
        ConfigError: ``factor`` is negative, or ``every`` is not positive.
    """

    first: float
    factor: float = 0.5
    every: float = 100

    def __post_init__(self) -> None:
        if not (self.factor >= 0 and self.every > 0):
            raise ConfigError(
                f"step({self.first:g},{self.factor:g},{self.every:g}): factor must be at least 0, every above 0"
            )

    def at(self, round: int, rounds: int) -> float:  # noqa: A002, ARG002, D102
        return float(self.first * self.factor ** (round // self.every))

    def extremes(self) -> tuple[float, float]:  # noqa: D102
        # One that grows has no end that is known here.
        end = math.copysign(sys.float_info.max, self.first) if self.factor > 1 else 0.0
        return min(end, self.first), max(end, self.first)


@dataclass(frozen=True)
class InverseSqrt(Schedule):
    """``first / sqrt(1 + round / every)``.

    Raises:
        ConfigError: ``every`` is not positive.
    """

    first: float
    every: float = 1.0

    def __post_init__(self) -> None:
        if not self.every > 0:
            raise ConfigError(f"invsqrt({self.first:g},{self.every:g}): every must be above 0")

    def at(self, round: int, rounds: int) -> float:  # noqa: A002, ARG002, D102
        return self.first / math.sqrt(1 + round / self.every)

    def extremes(self) -> tuple[float, float]:  # noqa: D102
        return min(0.0, self.first), max(0.0, self.first)


_KINDS: dict[str, type[Schedule]] = {
    "cosine": Cosine,
    "cubic": Cubic,
    "invsqrt": InverseSqrt,
    "linear": Linear,
    "step": Step,
}


def parse(text: str) -> Schedule:
    """The schedule written as ``name(number, ...)``.

    Raises:
        ConfigError: it is not one; the text says which exist.
    """
    found = re.fullmatch(r"\s*(\w+)\s*\(([^()]*)\)\s*", text)
    kind = _KINDS.get(found[1]) if found else None
    if found is not None and kind is not None:
        try:
            numbers = [float(part) for part in found[2].split(",")]
            if all(map(math.isfinite, numbers)):
                return kind(*numbers)
        except (ValueError, TypeError):
            pass
    raise ConfigError(
        f"'{text}' is neither a number nor a schedule; schedules are cosine(first,last), cubic(first,last), "
        "linear(first,last), step(first,factor,every), invsqrt(first,every)"
    )
