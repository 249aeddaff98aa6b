"""What a report is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FORMATS", "Asked"]

FORMATS = ("html", "md", "csv", "parquet", "png", "svg")
"""What can be written, by suffix."""


@dataclass(frozen=True)
class Asked:
    """A report.

    Attributes:
        paths: run folders, or folders that hold some.
        metric: what is judged; ``None``: the headline of all runs.
        target: a value of it; ``None``: that of the runs, if they have one in common.
        axis: the cost that budgets are about.
        budgets: amounts of it; empty: chosen from what was spent.
        by: keys that are meant to differ; empty: the method.
        where: values that runs must have, by dotted key.
        unfinished: whether runs that have not ended count.
        network: links as typed, to price the runs anew; ``None``: as recorded.
        codec: a type of values as typed, to count the bytes anew; ``None``: as recorded.
        out: the folder to write to.
        formats: some of :data:`FORMATS`.
    """

    paths: Sequence[Path]
    metric: str | None = None
    target: float | None = None
    axis: str = "up_bytes"
    budgets: Sequence[float] = ()
    by: Sequence[str] = ()
    where: Sequence[tuple[str, str]] = ()
    unfinished: bool = False
    network: str | None = None
    codec: str | None = None
    out: Path = Path("report")
    formats: Sequence[str] = ("html", "md", "csv")
