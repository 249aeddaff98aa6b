"""What it took to reach a target; a run that did not reach it is censored at what it had spent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedsparse.report.axes import Axis
from fedsparse.report.course import Run
from fedsparse.report.statistics import Estimate, estimate, median_reached

__all__ = ["ToTarget", "to_target"]


@dataclass(frozen=True)
class ToTarget:
    """What a group needed on one axis.

    Attributes:
        reached: what each run spent that got there.
        censored: what each run spent that did not.
    """

    reached: Sequence[float]
    censored: Sequence[float]

    @property
    def count(self) -> int:
        """Runs."""
        return len(self.reached) + len(self.censored)

    @property
    def mean(self) -> Estimate | None:
        """The mean over the seeds; ``None`` unless all of them got there."""
        return estimate(self.reached) if self.reached and not self.censored else None

    @property
    def median(self) -> float:
        """The median; infinite where half of the runs or more gave up before."""
        return median_reached(self.reached, self.censored)

    @property
    def at_least(self) -> float:
        """What is sure where the median is not known: what the censored runs spent at least."""
        return min(self.censored, default=math.nan)

    def text(self, axis: Axis) -> str:
        """``445 kB ± 30 kB``; ``median 445 kB, 2 of 3``; ``over 1.21 MB, 0 of 3``."""
        if self.mean is not None:
            spread = f" ± {axis.text(self.mean.half)}" if math.isfinite(self.mean.half) else ""
            return f"{axis.text(self.mean.mean)}{spread}"
        said = f"{len(self.reached)} of {self.count}"
        if math.isfinite(self.median):
            return f"median {axis.text(self.median)}, {said}"
        return f"over {axis.text(self.at_least)}, {said}"


def to_target(runs: Sequence[Run], axis: str, metric: str, target: float) -> ToTarget:
    """What runs needed until ``metric`` was at ``target`` or beyond, at an evaluation."""
    reached, censored = [], []
    for run in runs:
        place, spent = run.course.reached(metric, target), run.course.cost(axis)
        if place is not None:
            reached.append(float(spent[place]))
        elif len(spent):
            censored.append(float(spent[-1]))
    return ToTarget(reached, censored)
