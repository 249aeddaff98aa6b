"""The tables of a report, as text in cells; who shows them is another matter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedsparse.report.advice import value_text
from fedsparse.report.comparison import Comparison
from fedsparse.report.groups import Group
from fedsparse.units import number_text

__all__ = ["TableText", "tables"]


@dataclass(frozen=True)
class TableText:
    """A table.

    Attributes:
        name: a word for it, without blanks.
        title: what stands above.
        head: of the columns; all but the first are figures unless ``prose``.
        rows: as many cells in each.
        notes: what stands below, a sentence each.
        prose: whether the columns are text.
    """

    name: str
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    prose: bool = False


def tables(c: Comparison) -> list[TableText]:
    """All tables that there is something to say in."""
    found = [_results(c), _budgets(c), _targets(c), _settings(c), _left_out(c)]
    return [table for table in found if table is not None and table.rows]


def _results(c: Comparison) -> TableText:
    order = [*c.ends.order, *(place for place in range(len(c.groups)) if place not in set(c.ends.order))]
    head = [
        "",
        "seeds",
        f"{c.metric} at the end",
        "best",
        *(axis.short for axis in c.axes),
        "against the best",
    ]
    rows = []
    for place in order:
        group, end = c.groups[place], c.ends.estimates[place]
        best = sum(run.course.best(c.metric) for run in group.runs) / len(group.runs)
        spent = [axis.text(_mean_end(group, axis.name)) for axis in c.axes]
        rows.append(
            [
                group.label,
                str(len(group.runs)),
                value_text(end.mean, end.half),
                value_text(best, math.nan),
                *spent,
                _against(c, place),
            ]
        )
    notes = ["Means over seeds, ± half of the 95 % interval of the mean (Student's t)."]
    if len(c.groups) > 1:
        notes.append(
            "Against the best: paired t test over common seeds, corrected for the number of tests (Holm)."
        )
    return TableText("results", "Results", head, rows, notes)


def _mean_end(group: Group, axis: str) -> float:
    ends = [float(run.course.cost(axis)[-1]) for run in group.runs]
    return sum(ends) / len(ends)


def _against(c: Comparison, place: int) -> str:
    p = c.ends.p[place]
    if len(c.groups) == 1:
        return ""
    if place == c.ends.leader:
        return "best"
    if math.isnan(p):
        return "not tested" if math.isfinite(c.ends.estimates[place].mean) else "no value"
    return f"{'within noise, ' if c.ends.within_noise(place) else ''}p = {p:.2g}"


def _budgets(c: Comparison) -> TableText | None:
    if len(c.groups) < 2 or not c.budgets:
        return None
    found = [c.at(budget) for budget in c.budgets]
    rows = []
    for place, group in enumerate(c.groups):
        over = _mean_end(group, c.axis.name)
        cells = []
        for budget, ranked in zip(c.budgets, found, strict=True):
            mark = " *" if place == ranked.leader else " ≈" if ranked.within_noise(place) else ""
            ended = " †" if over < budget * 0.999 and math.isfinite(ranked.estimates[place].mean) else ""
            cells.append(value_text(ranked.estimates[place].mean, math.nan) + mark + ended)
        rows.append([group.label, *cells])
    notes = ["* best mean; ≈ not to be told from it; † its runs had ended with less; – not evaluated yet."]
    title = f"{c.metric} within a budget: {c.axis.label}"
    return TableText("budgets", title, ["", *(c.axis.text(b) for b in c.budgets)], rows, notes)


def _targets(c: Comparison) -> TableText | None:
    if c.target is None:
        return None
    rows = [[group.label, *(c.needed(group, axis).text(axis) for axis in c.axes)] for group in c.groups]
    title = f"To reach {c.metric} {number_text(c.target)}"
    notes = [
        "Where not all seeds got there: how many did, and the Kaplan-Meier median, or what was spent in vain.",
        "Known to the evaluation: what lies between two of them is counted to the second.",
    ]
    return TableText("targets", title, ["", *(axis.short for axis in c.axes)], rows, notes)


def _settings(c: Comparison) -> TableText | None:
    if len(c.groups) < 2:
        return None
    rows = [
        [g.label, ", ".join(f"{key}={value}" for key, value in g.settings.items() if value != "null")]
        for g in c.groups
    ]
    return TableText("settings", "What differs", ["", "settings"], rows, prose=True)


def _left_out(c: Comparison) -> TableText:
    rows = [[str(unread.path), unread.reason] for unread in c.left_out]
    return TableText("left-out", "Not counted", ["folder", "why"], rows, prose=True)
