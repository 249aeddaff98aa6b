"""The course of a method over its seeds, from run folders, and as a file of numbers."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedsparse.records import lower_is_better
from fedsparse.report.course import Floats, Run

__all__ = ["Curve", "from_csv", "to_csv"]

_HEAD = ("panel", "method", "metric", "rounds", "cost", "lowest", "mean", "highest")


@dataclass(frozen=True)
class Curve:
    """What a metric came to at n evaluations.

    Attributes:
        panel: where.
        method: whose.
        metric: of what: its name, or the place of a figure in ``summary.json``.
        rounds: after which it was evaluated, from 1, ``[n]``.
        cost: what that had cost, mean over seeds ``[n]``.
        low: the smallest value over seeds ``[n]``.
        mean: the mean ``[n]``.
        high: the largest ``[n]``.
        diverged: it ended because a model was no longer finite.
    """

    panel: str
    method: str
    metric: str
    rounds: Floats
    cost: Floats
    low: Floats
    mean: Floats
    high: Floats
    diverged: bool = False

    @classmethod
    def of(
        cls, panel: str, method: str, runs: Sequence[Run], metric: str, axis: str, less: float = 0.0
    ) -> Curve:
        """The curve of runs that differ in nothing but the seed, with ``less`` taken from the metric."""
        length = min(len(run.course) for run in runs)
        values = np.array([run.course.metric(metric)[:length] for run in runs]) - less
        cost = np.array([run.course.cost(axis)[:length] for run in runs])
        return cls(
            panel,
            method,
            metric,
            runs[0].course.cost("rounds")[:length],
            cost.mean(0),
            values.min(0),
            values.mean(0),
            values.max(0),
            any(not run.finished for run in runs),
        )

    @classmethod
    def of_ends(
        cls,
        panel: str,
        method: str,
        runs: Sequence[Run],
        summaries: Sequence[Mapping[str, Any] | None],
        figure: str,
        axis: str,
    ) -> Curve | None:
        """A figure of the summaries as a curve of one point, at the end; ``None`` where not all runs have it.

        Args:
            panel: where.
            method: whose.
            runs: that differ in nothing but the seed.
            summaries: of the runs, as ``summary.json`` has them; ``None`` where a run diverged.
            figure: its place there, such as ``scalars.kept.mean``.
            axis: the cost.
        """
        found = [_at(summary, figure) for summary in summaries]
        values = np.array([value for value in found if value is not None])
        if len(values) < len(found):
            return None
        rounds = np.array([min(float(run.course.cost("rounds")[-1]) for run in runs)])
        cost = np.array([np.mean([run.course.cost(axis)[-1] for run in runs])])
        low, mean, high = (np.array([of(values)]) for of in (np.min, np.mean, np.max))
        return cls(panel, method, figure, rounds, cost, low, mean, high)

    @property
    def lower(self) -> bool:
        """Whether less is better."""
        return lower_is_better(self.metric)

    @property
    def end(self) -> float:
        """The mean at the end; the worst there is where it diverged."""
        if self.diverged or not len(self.mean):
            return math.inf if self.lower else -math.inf
        return float(self.mean[-1])

    @property
    def spent(self) -> float:
        """The cost at the end."""
        return float(self.cost[-1]) if len(self.cost) else 0.0

    def at(self, budget: float, slack: float = 1e-9) -> float:
        """The mean at the last evaluation that cost no more than ``budget``, or a ``slack``-th of it more; else NaN."""
        place = int(np.searchsorted(self.cost, budget * (1 + slack), side="right")) - 1
        return float(self.mean[place]) if place >= 0 else math.nan

    def to(self, target: float) -> float:
        """The cost until every seed was at ``target`` or beyond at once; infinite where that never was."""
        reached = np.flatnonzero(self.high <= target if self.lower else self.low >= target)
        return float(self.cost[reached[0]]) if len(reached) else math.inf

    def thinned(self, points: int) -> Iterator[int]:
        """At most so many places, evenly spread on a logarithmic scale of rounds, the first and last among them."""
        wanted = np.geomspace(self.rounds[0], self.rounds[-1], points)
        places = np.minimum(np.searchsorted(self.rounds, wanted), len(self.rounds) - 1)
        yield from sorted({0, *places.tolist(), len(self.rounds) - 1})


def _at(summary: Any, figure: str) -> float | None:
    for key in figure.split("."):
        summary = summary.get(key) if isinstance(summary, Mapping) else None
    is_number = isinstance(summary, int | float) and not isinstance(summary, bool)
    return float(summary) if is_number else None


def to_csv(curves: Sequence[Curve], points: int = 50) -> str:
    """Some points of each curve, in all their digits; a curve without points is left out."""
    file = io.StringIO()
    out = csv.writer(file, lineterminator="\n")
    out.writerow(_HEAD)
    for curve in (each for each in curves if len(each.rounds)):
        for at in curve.thinned(points):
            values = [repr(float(every[at])) for every in (curve.cost, curve.low, curve.mean, curve.high)]
            out.writerow([curve.panel, curve.method, curve.metric, int(curve.rounds[at]), *values])
    return file.getvalue()


def from_csv(text: str) -> list[Curve]:
    """The curves that :func:`to_csv` wrote; whether they diverged is not in it."""
    rows: dict[tuple[str, str, str], list[list[float]]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        key = row["panel"], row["method"], row["metric"]
        rows.setdefault(key, []).append([float(row[name]) for name in _HEAD[3:]])
    return [Curve(*key, *np.array(found).T) for key, found in rows.items()]
