"""A report in the terminal."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedsparse.graphs import Matrices
from fedsparse.topology.picture import beside, picture
from fedsparse.topology.report import Report, report
from fedsparse.units import bytes_text, number_text

__all__ = ["show"]

_PICTURES = 4


def show(console: Console, matrices: Matrices, parameters: int) -> None:
    """Prints a table, and who hears whom.

    Args:
        console: where to.
        matrices: the graph with its weights.
        parameters: of the model that travels.

    Raises:
        ConfigError: the graph is not connected, or the rule does not suit it.
        ResourceError: it is too large to find its spectral gap.
    """
    found = report(matrices, parameters)
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for line, text in _lines(matrices, found, parameters).items():
        table.add_row(line, Text(text))
    console.print(table)
    exchanges = min(matrices.period or _PICTURES, _PICTURES)
    several = "" if exchanges == 1 else f", exchanges 0 to {exchanges - 1}"
    console.print(Text(f"row hears column{several}", style="dim"))
    for line in beside([picture(matrices.at(t)) for t in range(exchanges)]):
        console.print(Text(line), soft_wrap=True)


def _lines(matrices: Matrices, found: Report, parameters: int) -> dict[str, str]:
    heard = _degrees(found.hears)
    return {
        "graph": f"{matrices.topology.name}, {matrices.clients} clients, {_changes(found.period)}",
        "mixing": f"{found.rule or 'own weights'}, {found.stochastic} stochastic",
        "degree": heard if found.hears == found.sends else f"hears {heard}; sends to {_degrees(found.sends)}",
        "spectral gap": _gap(found),
        "halves disagreement": _halves(found),
        "bytes a round": (
            f"{bytes_text(found.bytes)}: {number_text(found.messages)} messages of {parameters:,} parameters, "
            "4 bytes each, before headers"
        ),
    }


def _changes(period: int | None) -> str:
    return "static" if period == 1 else f"repeats after {period} exchanges" if period else "never repeats"


def _degrees(spread: tuple[int, float, int]) -> str:
    least, mean, most = spread
    return str(least) if least == most else f"{least} to {most}, {mean:.3g} on average"


def _gap(found: Report) -> str:
    kind = {1: "", None: ", measured"}.get(found.period, " per exchange, of a whole period")
    return f"{found.gap:.6g} (1 - ρ, ρ = {found.contraction:.6f}{kind})"


def _halves(found: Report) -> str:
    if found.contraction == 0:
        return f"all agree exactly after {found.period or 1} {'round' if found.period == 1 else 'rounds'}"
    if math.isinf(found.half_life):
        return "never"
    return f"in {number_text(found.half_life)} rounds of one exchange"
