"""What a strategy declares, in plain words: for the help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from rich.table import Table
from rich.text import Text

from fedsparse.engine.suits import formula
from fedsparse.gossip import Gossip
from fedsparse.protocol import Strategy, Theory, Vectors
from fedsparse.theory import ProblemClass

__all__ = ["LEGEND", "comparison", "declaration"]

_SIZE = 1_000_000
"""A length of vectors, for probabilities that depend on it."""

_PROBLEMS: dict[ProblemClass, str] = {
    "minimisation": "minimisation",
    "operators": "monotone operators (saddle points, variational inequalities)",
}
_GOALS = {
    "optimum": "the optimum",
    "fixed_point": "the fixed point of local descent",
    "neighbourhood": "a distance from the optimum that does not vanish",
}
_TOYS = {"quadratic": "quadratics that differ between clients", "saddle": "a saddle problem"}

LEGEND = "vectors: of a client in a round on average, c: compressed; problems: minimisation, variational inequalities"
"""What the columns of :func:`comparison` mean."""

_COLUMNS = ("  strategy", "uplink", "problems", "clients", "vectors up", "down", "limit", "lr=theory")


def declaration(strategy: Strategy) -> list[tuple[str, str]]:
    """What it declares: a heading and a text for each line."""
    rows = [
        ("problems", ", ".join(_PROBLEMS[name] for name in strategy.problems)),
        ("clients", _clients(strategy)),
    ]
    rows += [("sent" if not k else "", text) for k, text in enumerate(_exchanges(strategy))]
    rows += [("limit" if not k else "", _promise(theory)) for k, theory in enumerate(strategy.theories())]
    return [*rows, ("lr=theory", formula(strategy) if strategy.has_theory_lr() else "no formula")]


def comparison(strategies: Mapping[str, Strategy]) -> Table:
    """The declarations of strategies, by name, a line each."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in _COLUMNS:
        table.add_column(column, overflow="fold")
    for name, strategy in strategies.items():
        table.add_row(Text(f"  {name}", style="bold"), *_in_short(strategy))
    return table


def _in_short(strategy: Strategy) -> tuple[str, ...]:
    """A word or two for each column but the name."""
    exchanges = [e for e in strategy.communication(_SIZE) if e.round is None]
    short = ["min" if name == "minimisation" else "VI" for name in strategy.problems]
    return (
        strategy.uplink_class if hasattr(strategy, "uplink") else "-",
        ", ".join(sorted(short)),
        "all" if strategy.participation == "full" else "any",
        _mean([(e.probability, e.up, e.up_compressed) for e in exchanges]),
        _mean([(e.probability, e.down, e.down_compressed) for e in exchanges]),
        ", ".join(dict.fromkeys(theory.limit.replace("_", " ") for theory in strategy.theories())) or "-",
        "yes" if strategy.has_theory_lr() else "-",
    )


def _clients(strategy: Strategy) -> str:
    if strategy.participation == "partial":
        return "any part of them in a round"
    variant = any(f.name == "partial" for f in fields(strategy))
    return "all of them in every round" + (
        "; strategy.partial=true is a variant with a part" if variant else ""
    )


def _exchanges(strategy: Strategy) -> Sequence[str]:
    said = _between_neighbours if isinstance(strategy, Gossip) else _with_server
    return [_when(e) + said(e) for e in strategy.communication(_SIZE)] or ["not declared"]


def _between_neighbours(vectors: Vectors) -> str:
    sent = _counted(vectors.up, vectors.up_compressed)
    return f"{sent} of each client by an all-reduce" if vectors.everyone else f"{sent} to each neighbour"


def _with_server(vectors: Vectors) -> str:
    return ", ".join(
        f"{way} {_counted(dense, compressed)}"
        for way, dense, compressed in (
            ("down", vectors.down, vectors.down_compressed),
            ("up", vectors.up, vectors.up_compressed),
        )
    )


def _when(vectors: Vectors) -> str:
    if vectors.round is not None:
        return "only in the last round: " if vectors.round < 0 else f"only in round {vectors.round + 1}: "
    if vectors.probability == 1:
        return ""
    return f"with probability {vectors.probability:.3g} (at d = {_SIZE:,}): "


def _counted(dense: float, compressed: float) -> str:
    parts = [(f"{dense:.3g}", ""), (f"{compressed:.3g}", "compressed ")]
    words = [f"{n} {kind}vector{'' if n == '1' else 's'}" for n, kind in parts if n != "0"]
    return " and ".join(words) or "nothing"


def _mean(exchanges: Sequence[tuple[float, float, float]]) -> str:
    dense, compressed = (sum(e[0] * e[k] for e in exchanges) for k in (1, 2))
    parts = [f"{dense:.3g}" if dense else "", f"{compressed:.3g}c" if compressed else ""]
    return "+".join(part for part in parts if part) or "-"


def _promise(theory: Theory) -> str:
    settings = ", ".join(
        f"{name}={value}" for name, value in theory.settings.items() if not hasattr(value, "compress")
    )
    rate = f", at a {theory.rate} rate" if theory.rate else ""
    return f"{_GOALS[theory.limit]}{rate}: on {_TOYS[theory.problem]}" + (f", {settings}" if settings else "")
