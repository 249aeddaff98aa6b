"""Everything that a report says, before anybody renders it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from fedsparse.config.specs import shown
from fedsparse.errors import ConfigError
from fedsparse.lazy import cached_property
from fedsparse.records import lower_is_better
from fedsparse.report.asked import Asked
from fedsparse.report.axes import AXES, Axis
from fedsparse.report.budgets import Ranking, Stretch, default_budgets, front, ranking
from fedsparse.report.course import Run, Unread
from fedsparse.report.curves import Curve, mean_curve
from fedsparse.report.fairness import warnings
from fedsparse.report.groups import Group, grouped
from fedsparse.report.targets import ToTarget, to_target
from fedsparse.summary import headline
from fedsparse.words import listed, there_are

__all__ = ["Comparison", "compare"]


@dataclass
class Comparison:
    """Groups of runs side by side. What is asked of it is computed once.

    Attributes:
        metric: what is judged.
        metrics: all that every group has.
        axis: the cost that budgets are about.
        groups: the groups.
        target: a value of the metric; ``None`` where there is none.
        asked_budgets: amounts on the axis; empty: chosen from what was spent.
        left_out: what does not count, and why.
        warnings: what a reader must know, a sentence each.
        notes: how figures came about that are not those of the records.
    """

    metric: str
    metrics: Sequence[str]
    axis: Axis
    groups: Sequence[Group]
    target: float | None
    asked_budgets: Sequence[float]
    left_out: Sequence[Unread]
    warnings: Sequence[str]
    notes: Sequence[str] = field(default_factory=list)

    @property
    def lower(self) -> bool:
        """Whether less of the metric is better."""
        return lower_is_better(self.metric)

    @cached_property
    def axes(self) -> list[Axis]:
        """The axes on which anything was spent in any group; figures leave out the others there."""
        return [axis for name, axis in AXES.items() if any(_spent(curve, name) for curve in self.curves)]

    @cached_property
    def curves(self) -> list[Curve]:
        """The mean course of each group."""
        return [mean_curve(group.runs, self.metric) for group in self.groups]

    @cached_property
    def ends(self) -> Ranking:
        """How the groups stand at their ends."""
        return ranking(self.groups, [group.ends(self.metric) for group in self.groups], self.metric)

    @cached_property
    def budgets(self) -> list[float]:
        """The budgets of the table."""
        return list(self.asked_budgets) or default_budgets(self.curves, self.axis.name)

    @cached_property
    def equal_budget(self) -> float:
        """The most that all groups have spent; NaN where that is not known of all."""
        ends = [
            float(c.costs[self.axis.name][-1]) if _spent(c, self.axis.name) else math.nan for c in self.curves
        ]
        return math.nan if any(map(math.isnan, ends)) else min(ends)

    def at(self, budget: float) -> Ranking:
        """How the groups stand at a budget."""
        values = [
            [run.course.within(self.axis.name, budget, self.metric) for run in group.runs]
            for group in self.groups
        ]
        return ranking(self.groups, values, self.metric)

    @cached_property
    def front(self) -> list[Stretch]:
        """Who is best at which cost."""
        return front(self.curves, self.axis.name, self.metric)

    def needed(self, group: Group, axis: Axis) -> ToTarget:
        """What a group needed to the target, which there must be."""
        assert self.target is not None  # noqa: S101 - asked only where there is one
        return to_target(group.runs, axis.name, self.metric, self.target)


def compare(
    runs: Sequence[Run], unread: Sequence[Unread], asked: Asked, notes: Sequence[str] = ()
) -> Comparison:
    """Puts runs side by side.

    Raises:
        ConfigError: there is nothing to compare, or no metric that could be.
    """
    left_out = list(unread)
    kept = _where(runs, asked.where)
    kept, unfinished = _finished(kept, asked.unfinished)
    left_out += unfinished
    metric, kept, without = _judged(kept, asked.metric, left_out)
    left_out += without
    groups, repeated = grouped(kept)
    target = asked.target if asked.target is not None else _target(kept, metric)
    names = [run.course.metrics.keys() for run in kept]
    return Comparison(
        metric=metric,
        metrics=[metric, *sorted(set.intersection(*map(set, names)) - {metric})],
        axis=AXES[asked.axis],
        groups=groups,
        target=target,
        asked_budgets=asked.budgets,
        left_out=[*left_out, *repeated],
        warnings=warnings(groups, asked.by),
        notes=list(notes),
    )


def _spent(curve: Curve, axis: str) -> bool:
    found = curve.costs.get(axis)
    return found is not None and len(found) > 0 and bool(found[-1] > 0)


def _where(runs: Sequence[Run], wanted: Sequence[tuple[str, str]]) -> list[Run]:
    known = dict.fromkeys(key for run in runs for key in run.config)
    for key, _ in wanted:
        if runs and key not in known:
            raise ConfigError(f"--where {key}: no run has that key{there_are(key, list(known))}")
    return [run for run in runs if all(shown(run.config.get(key)) == value for key, value in wanted)]


def _finished(runs: Sequence[Run], all_count: bool) -> tuple[list[Run], list[Unread]]:
    """Those that count. Where none has ended, they all do: better than nothing."""
    if all_count or not any(run.finished for run in runs):
        return list(runs), []
    out = [
        Unread(r.path, f"not finished: {r.rounds} of {r.config.get('rounds', '?')} rounds")
        for r in runs
        if not r.finished
    ]
    return [run for run in runs if run.finished], out


def _judged(
    runs: Sequence[Run], metric: str | None, left_out: Sequence[Unread]
) -> tuple[str, list[Run], list[Unread]]:
    """The metric, the runs that have it, and those that do not."""
    if not runs:
        why = "".join(f"; {unread.path}: {unread.reason}" for unread in left_out[:3])
        more = f"; and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        raise ConfigError(f"there is no run to report{why}{more}. Give run folders, as in runs/*")
    evaluated = [run for run in runs if run.course.metrics]
    if not evaluated:
        raise ConfigError(
            f"none of the {len(runs)} runs was evaluated yet, such as {runs[0].path}; wait for the first evaluation"
        )
    names = [set(run.course.metrics) for run in evaluated]
    chosen = metric or headline(set.intersection(*names) - {"train_loss"})
    if chosen is None:
        raise ConfigError(f"the runs have no metric in common: {_mixed(evaluated)}; choose one with --metric")
    every = set().union(*names)
    if chosen not in every:
        raise ConfigError(f"--metric {chosen}: no run has that{there_are(chosen, sorted(every))}")
    without = [run for run in runs if chosen not in run.course.metrics]
    missing = f"{chosen} was not evaluated"
    return (
        chosen,
        [run for run in runs if chosen in run.course.metrics],
        [Unread(r.path, missing) for r in without],
    )


def _mixed(runs: Sequence[Run]) -> str:
    """Which metrics there are, each with a run that has it."""
    first: dict[str, Run] = {}
    for run in runs:
        for name in run.course.metrics:
            first.setdefault(name, run)
    return listed([f"{name} ({run.path})" for name, run in first.items() if name != "train_loss"])


def _target(runs: Sequence[Run], metric: str) -> float | None:
    """The target that all runs were given, where it is about this metric."""
    targets = {run.config.get("target") for run in runs}
    about = {headline(set(run.course.metrics) - {"train_loss"}) for run in runs}
    target = targets.pop() if len(targets) == 1 else None
    return float(target) if isinstance(target, int | float) and about == {metric} else None
