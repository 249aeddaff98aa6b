"""A report on the terminal."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fedsparse.report.advice import advice
from fedsparse.report.comparison import Comparison
from fedsparse.report.tables import TableText, tables

__all__ = ["on_terminal", "show"]

_MOST_ROWS = 40


def show(console: Console, c: Comparison) -> None:
    """Prints a comparison."""
    console.print(on_terminal(c))


def on_terminal(c: Comparison) -> RenderableType:
    """What is printed: tables, warnings, and in the end what it comes to."""
    parts: list[RenderableType] = [_table(table) for table in tables(c)]
    parts += [Text(f"! {warning}", style="yellow") for warning in c.warnings]
    parts += [Text(note, style="dim") for note in c.notes]
    parts += [
        Text(""),
        *(Text(sentence, style="bold" if place == 0 else "") for place, sentence in enumerate(advice(c))),
    ]
    return Group(*parts)


def _table(found: TableText) -> RenderableType:
    table = Table(
        title=found.title,
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="dim",
        pad_edge=False,
    )
    for place, heading in enumerate(found.head):
        left = place == 0 or found.prose
        table.add_column(heading, justify="left" if left else "right", overflow="fold")
    for row in found.rows[:_MOST_ROWS]:
        table.add_row(*map(Text, row))
    below = list(found.notes)
    if len(found.rows) > _MOST_ROWS:
        below.insert(0, f"{len(found.rows) - _MOST_ROWS} more lines are in the files.")
    return Padding(Group(table, *(Text(note, style="dim") for note in below)), (0, 0, 1, 0))
