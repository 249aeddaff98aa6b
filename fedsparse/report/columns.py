"""A report as tables of numbers, for other programs: one row for each run, and one for each evaluation."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedsparse.report.axes import AXES
from fedsparse.report.comparison import Comparison

__all__ = ["courses", "csv_text", "runs", "write_parquet"]

Columns = Mapping[str, Sequence[Any]]
"""Values by column, all of one length; ``None`` where there is none."""


def runs(c: Comparison) -> Columns:
    """A row for each run: where it lies, its group and seed, what it came to, what it spent, what the target took."""
    every = [(group, run) for group in c.groups for run in group.runs]
    columns: dict[str, list[Any]] = {
        "group": [group.label for group, _ in every],
        "seed": [run.seed for _, run in every],
        "folder": [str(run.path) for _, run in every],
        "finished": [run.finished for _, run in every],
    }
    for name in c.metrics:
        columns[f"{name}_end"] = [_number(run.course.end(name)) for _, run in every]
        columns[f"{name}_best"] = [_number(run.course.best(name)) for _, run in every]
    for axis in c.axes:
        columns[axis.name] = [_number(run.course.cost(axis.name)[-1]) for _, run in every]
    if c.target is not None:
        places = [run.course.reached(c.metric, c.target) for _, run in every]
        for axis in c.axes:
            spent = [run.course.cost(axis.name) for _, run in every]
            columns[f"{axis.name}_to_target"] = [
                None if place is None else _number(cost[place])
                for place, cost in zip(places, spent, strict=True)
            ]
    return columns


def courses(c: Comparison) -> Columns:
    """A row for each evaluation of each run."""
    every = [(group, run) for group in c.groups for run in group.runs]
    columns: dict[str, list[Any]] = {
        "group": [group.label for group, run in every for _ in range(len(run.course))],
        "seed": [run.seed for _, run in every for _ in range(len(run.course))],
    }
    for name in (axis for axis in AXES if axis in {a.name for a in c.axes}):
        columns[name] = [_number(value) for _, run in every for value in run.course.cost(name)]
    for name in c.metrics:
        columns[name] = [_number(value) for _, run in every for value in run.course.metric(name)]
    return columns


def csv_text(columns: Columns) -> str:
    """The columns as CSV; what is not there is left empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return out.getvalue()


def write_parquet(columns: Columns, path: Path) -> None:
    """The columns as a Parquet file."""
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table(dict(columns)), path)


def _number(value: Any) -> float | int | None:
    """A number of Python; whole ones as such, ``None`` for NaN."""
    found = float(value)
    if found != found:  # noqa: PLR0124 - NaN is the one number that is not itself
        return None
    return int(found) if found.is_integer() and abs(found) >= 1 else found
