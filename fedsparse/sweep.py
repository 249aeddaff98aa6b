"""The table at the end of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from fedsparse.summary import Summary
from fedsparse.tuning import unlike
from fedsparse.units import bytes_text, number_text, seconds_text

__all__ = ["Outcome", "table_of"]


@dataclass(frozen=True)
class Outcome:
    """What became of one run of a sweep.

    Attributes:
        label: what sets it apart.
        status: exit status, 0 where it finished.
        summary: its result; ``None`` where it failed.
    """

    label: str
    status: int
    summary: Summary | None


def table_of(outcomes: Sequence[Outcome]) -> Table:
    """One line for each run: its metric, bytes and virtual time, and what it took to reach the target.

    Where only some are of tuned methods, or tuned in another way, it says so below.
    """
    unfair = unlike({outcome.label: outcome.summary.tuning for outcome in outcomes if outcome.summary})
    table = Table(caption="\n".join(unfair) or None, caption_justify="left", caption_style="bold red")
    table.add_column("run", overflow="fold")
    for heading in ("result", "up", "down", "network time", "target"):
        table.add_column(heading, justify="right")
    for outcome in outcomes:
        table.add_row(outcome.label, *_cells(outcome))
    return table


def _cells(outcome: Outcome) -> tuple[str, ...]:
    summary = outcome.summary
    if summary is None:
        return (f"failed (status {outcome.status})", "", "", "", "")
    metric = summary.metric
    return (
        f"{metric} {number_text(summary.final[metric])}" if metric else "not evaluated",
        bytes_text(summary.up_bytes),
        bytes_text(summary.down_bytes),
        seconds_text(summary.virtual_s),
        _target(summary),
    )


def _target(summary: Summary) -> str:
    if summary.target is None:
        return ""
    mark = summary.reached
    return f"round {mark.rounds}, up {bytes_text(mark.up_bytes)}" if mark else "not reached"
