"""Who is best at a given cost, and who is at some cost: the front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedsparse.records import lower_is_better
from fedsparse.report.course import Floats
from fedsparse.report.curves import Curve
from fedsparse.report.groups import Group
from fedsparse.report.statistics import LEVEL, Estimate, estimate, holm, paired_p

__all__ = ["Ranking", "Stretch", "default_budgets", "front", "ranking"]

_STEPS = (1.0, 2.0, 5.0)
_MOST = 6


@dataclass(frozen=True)
class Ranking:
    """How groups stand, at a budget or at their ends.

    Attributes:
        estimates: the metric of each group; a mean of NaN where it has none yet.
        order: the places of those that have a value, best first.
        p: of each group against the leader: the paired t test over the seeds that both have, corrected for the number
            of tests; NaN for the leader, and where there are fewer than two common seeds.
    """

    estimates: Sequence[Estimate]
    order: Sequence[int]
    p: Sequence[float]

    @property
    def leader(self) -> int | None:
        """The place of the best; ``None`` where none has a value."""
        return self.order[0] if self.order else None

    def within_noise(self, place: int) -> bool:
        """Whether a group cannot be told from the leader: no significant difference, or none that can be tested."""
        return (
            place != self.leader and math.isfinite(self.estimates[place].mean) and not self.p[place] < LEVEL
        )

    @property
    def runner_up(self) -> int | None:
        """The second best."""
        return self.order[1] if len(self.order) > 1 else None


def ranking(groups: Sequence[Group], values: Sequence[Sequence[float]], metric: str) -> Ranking:
    """Ranks groups by the means of ``values``, one for each run of each group."""
    estimates = [estimate(found) for found in values]
    sign = 1 if lower_is_better(metric) else -1
    known = [place for place, found in enumerate(estimates) if math.isfinite(found.mean)]
    order = sorted(known, key=lambda place: sign * estimates[place].mean)
    if not order:
        return Ranking(estimates, [], [math.nan] * len(groups))
    leader = order[0]
    by_seed = [
        dict(zip((run.seed for run in g.runs), v, strict=True)) for g, v in zip(groups, values, strict=True)
    ]
    tests = [
        math.nan if place == leader else _test(by_seed[leader], found) for place, found in enumerate(by_seed)
    ]
    return Ranking(estimates, order, holm(tests))


def _test(a: dict[object, float], b: dict[object, float]) -> float:
    common = [seed for seed in a if seed in b]
    return paired_p([a[seed] for seed in common], [b[seed] for seed in common])


def default_budgets(curves: Sequence[Curve], axis: str) -> list[float]:
    """Round numbers (1, 2, 5 times a power of ten) over what the groups have spent, at most six."""
    spent = [curve.costs[axis] for curve in curves if axis in curve.costs and len(curve.mean)]
    if not spent:
        return []
    low, high = min(float(s[0]) for s in spent), max(float(s[-1]) for s in spent)
    if low <= 0:
        low = high / 1000
    if high <= 0:
        return []
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    series = [step * 10.0**power for power in powers for step in _STEPS]
    found = [value for value in series if low <= value <= high] or [high]
    places = np.unique(np.rint(np.linspace(0, len(found) - 1, min(_MOST, len(found)))).astype(int))
    return [found[place] for place in places]


@dataclass(frozen=True)
class Stretch:
    """A part of the front.

    Attributes:
        group: the place of the group that is best there.
        start: the cost from which on it is.
        end: the cost at which another takes over; infinite for the last.
    """

    group: int
    start: float
    end: float


def front(curves: Sequence[Curve], axis: str, metric: str) -> list[Stretch]:
    """The Pareto front of the mean curves: for each cost the group whose best value so far no other reaches.

    Of two that are equal the one that was there first stays.
    """
    sign = -1 if lower_is_better(metric) else 1
    points = sorted(
        (float(cost), -sign * float(value), place)
        for place, curve in enumerate(curves)
        for cost, value in zip(curve.costs.get(axis, _NONE), curve.mean, strict=False)
        if math.isfinite(cost) and math.isfinite(value)
    )
    found: list[Stretch] = []
    best = math.inf
    for cost, badness, place in points:
        if badness >= best:
            continue
        best = badness
        if found and found[-1].group == place:
            continue
        if found:
            found[-1] = Stretch(found[-1].group, found[-1].start, cost)
        found.append(Stretch(place, cost, math.inf))
    return [stretch for stretch in found if stretch.start < stretch.end]


_NONE: Floats = np.zeros(0)
