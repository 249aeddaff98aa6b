"""The mean way of a group: its runs side by side, evaluation by evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedsparse.report.course import Course, Floats, Run
from fedsparse.report.statistics import half_width

__all__ = ["Curve", "mean_curve", "side_by_side", "thinned"]


@dataclass(frozen=True)
class Curve:
    """A metric of a group at the rounds where all of its runs were evaluated, n of them.

    Attributes:
        costs: by the name of an axis, what had been spent until then, mean over the seeds ``[n]``.
        mean: of the metric ``[n]``.
        half: half the width of its 95 % interval ``[n]``; NaN where there is one seed.
    """

    costs: Mapping[str, Floats]
    mean: Floats
    half: Floats


def mean_curve(runs: Sequence[Run], metric: str) -> Curve:
    """The curve of a metric. Nothing is drawn between evaluations, and no seed is missing at any point."""
    return _curve(
        [run.course for run in runs], metric, [np.isfinite(run.course.metric(metric)) for run in runs]
    )


def side_by_side(runs: Sequence[Run], metric: str) -> Curve:
    """The same at all rounds where something was evaluated in all runs; NaN where that was not this metric."""
    return _curve(
        [run.course for run in runs], metric, [np.ones(len(run.course), dtype=bool) for run in runs]
    )


def _curve(courses: Sequence[Course], metric: str, counted: Sequence[np.ndarray]) -> Curve:
    places = _common(courses, counted)
    axes = [name for name in courses[0].costs if all(name in course.costs for course in courses)]
    costs = {
        name: np.mean([course.costs[name][at] for course, at in zip(courses, places, strict=True)], axis=0)
        for name in axes
    }
    values = np.array([course.metric(metric)[at] for course, at in zip(courses, places, strict=True)])
    return Curve(costs, values.mean(axis=0), half_width(values))


def thinned(count: int, most: int) -> np.ndarray:
    """At most so many of the places 0 .. count - 1, spread evenly, with the first and the last."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.rint(np.linspace(0, count - 1, most)).astype(np.int64))


def _common(courses: Sequence[Course], counted: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each course, the places of the rounds that count in all of them."""
    seen = [course.costs["rounds"][counts] for course, counts in zip(courses, counted, strict=True)]
    common = seen[0]
    for rounds in seen[1:]:
        if len(rounds) != len(common) or (rounds != common).any():
            common = np.intersect1d(common, rounds)
    return [np.searchsorted(course.costs["rounds"], common) for course in courses]
