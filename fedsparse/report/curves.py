"""The mean way of a group: its runs side by side, evaluation by evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedsparse.report.course import Course, Floats, Run
from fedsparse.report.statistics import half_width

__all__ = ["Curve", "mean_curve", "thinned"]


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
    courses = [run.course for run in runs]
    places = _common(courses, metric)
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


def _common(courses: Sequence[Course], metric: str) -> list[np.ndarray]:
    """For each course, the places of the rounds at which the metric is there in all of them."""
    seen = [course.costs["rounds"][np.isfinite(course.metric(metric))] for course in courses]
    common = seen[0]
    for rounds in seen[1:]:
        if len(rounds) != len(common) or (rounds != common).any():
            common = np.intersect1d(common, rounds)
    return [np.searchsorted(course.costs["rounds"], common) for course in courses]
