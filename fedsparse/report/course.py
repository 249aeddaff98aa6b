"""The way of one run: its metrics each time it was evaluated, and what it had cost until then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedsparse.records import lower_is_better

__all__ = ["Course", "Floats", "Run", "Unread"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """n evaluations, in order.

    Attributes:
        costs: by the name of an axis, what was spent since the start ``[n]``; never falls.
        metrics: by name ``[n]``; NaN where that one was not evaluated, or not finite.
    """

    costs: Mapping[str, Floats]
    metrics: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.costs["rounds"])

    def metric(self, name: str) -> Floats:
        """A metric ``[n]``; NaN throughout where the run has none of that name."""
        found = self.metrics.get(name)
        return np.full(len(self), np.nan) if found is None else found

    def cost(self, axis: str) -> Floats:
        """What was spent ``[n]``; NaN where it is not known of this run."""
        found = self.costs.get(axis)
        return np.full(len(self), np.nan) if found is None else found

    def end(self, metric: str) -> float:
        """The metric when it was last evaluated; NaN where that never was."""
        return float(self.metric(metric)[-1]) if len(self) else np.nan

    def best(self, metric: str) -> float:
        """The best finite value of the metric; NaN where there is none."""
        values = self.metric(metric)
        values = values[np.isfinite(values)]
        if not len(values):
            return np.nan
        return float(values.min() if lower_is_better(metric) else values.max())

    def within(self, axis: str, budget: float, metric: str) -> float:
        """The metric at the last evaluation that cost no more than ``budget``; NaN where the first did."""
        place = int(np.searchsorted(self.cost(axis), budget, side="right")) - 1
        return float(self.metric(metric)[place]) if place >= 0 else np.nan

    def reached(self, metric: str, target: float) -> int | None:
        """The place of the first evaluation at the target or beyond; ``None`` where there is none."""
        values = self.metric(metric)
        found = np.flatnonzero(values <= target if lower_is_better(metric) else values >= target)
        return int(found[0]) if len(found) else None

    def with_costs(self, costs: Mapping[str, Floats]) -> Course:
        """The same metrics at other costs, for the axes that are named."""
        return replace(self, costs={**self.costs, **costs})


@dataclass(frozen=True)
class Run:
    """A run folder, read.

    Attributes:
        path: the folder.
        config: the configuration by dotted key.
        versions: what it was made with.
        tuning: how its values were chosen; ``None`` where they were not tuned.
        rounds: how many there are in its records.
        finished: whether it has come to its end.
        course: what was evaluated.
    """

    path: Path
    config: Mapping[str, Any]
    versions: Mapping[str, Any]
    tuning: Mapping[str, Any] | None
    rounds: int
    finished: bool
    course: Course

    @property
    def seed(self) -> Any:
        """What tells it from the other runs of its group."""
        return self.config.get("seed")


@dataclass(frozen=True)
class Unread:
    """A folder whose run does not count, and why."""

    path: Path
    reason: str
