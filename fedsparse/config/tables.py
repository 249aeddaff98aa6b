"""The tables that helps are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedsparse.config.kinds import Group
from fedsparse.config.specs import REQUIRED, OptionSpec, shown

__all__ = ["columns", "member", "options", "title"]


def options(console: Console, specs: Iterable[OptionSpec], prefix: str) -> None:
    """A line for each option: key, default, meaning, allowed values.

    Args:
        console: where to.
        specs: the options.
        prefix: put before their names.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("  key", no_wrap=True)
    table.add_column("default", overflow="fold")
    table.add_column("what", ratio=3)
    table.add_column("allowed", ratio=2)
    for spec in specs:
        default = "(must be given)" if spec.default is REQUIRED else shown(spec.default)
        table.add_row(
            Text(f"  {prefix}{spec.name}", style="bold"), default, Text(spec.help), Text(spec.allowed)
        )
    console.print(table)


def member(console: Console, group: Group, key: str, name: str) -> None:
    """All about a member of a group: its documentation and its options."""
    title(console, f"{key}={name}")
    console.print(Text(group.about(name)), soft_wrap=True)
    specs = group.options(name)
    title(console, "\nOptions" if specs else "\nIt has no options.")
    if specs:
        options(console, specs, f"{key}.")


def columns(console: Console, rows: Sequence[tuple[Text, Text]]) -> None:
    """Two columns."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(overflow="fold")
    grid.add_column()
    for row in rows:
        grid.add_row(*row)
    console.print(grid)


def title(console: Console, text: str) -> None:
    """A line that heads what follows."""
    console.print(Text(text, style="bold cyan"))
