"""Results as Markdown: of one experiment, and of all in one table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fedsparse.experiment.form import Experiment
from fedsparse.experiment.stored import End, Result
from fedsparse.experiment.trends import Seen, value_text
from fedsparse.report.axes import AXES, Axis
from fedsparse.tuning.grid import edges
from fedsparse.units import number_text, seconds_text

__all__ = ["EDGE", "command", "ends_table", "one", "overview"]

EDGE = "\\* the smallest or the largest value that was tried: a better one may lie beyond."
"""What the mark in tables says."""

_MOST = 8
"""Statements of an experiment that the table of all shows."""


def one(asked: Experiment, result: Result) -> str:
    """What was expected, what was found, and where every method ended."""
    parts = [f"# {asked.title}", f"{asked.claim} ({asked.source})"]
    if result.seen:
        rows = [[each.says, each.found, "yes" if each.holds else "**no**"] for each in result.seen]
        parts.append(_table(["expected", "found", "holds"], rows, ":--"))
    parts.append(ends_table(asked, result.ends))
    if any(_edges(asked, end) for end in result.ends):
        parts.append(EDGE)
    parts += [f"Not run: {text}." for text in _left_out(asked)]
    parts += [f"{note.rstrip('.')}." for note in result.notes]
    parts.append(made(result))
    return "\n\n".join(parts) + "\n"


def _left_out(asked: Experiment) -> list[str]:
    """Methods that do not take part in a panel, and why: those with the same reason together."""
    found: dict[tuple[str, str], list[str]] = {}
    for method in asked.methods:
        for panel in asked.panels:
            if panel.label in method.without:
                found.setdefault((panel.label, method.without[panel.label]), []).append(method.label)
    return [f"on {panel} {', '.join(labels)}: {why}" for (panel, why), labels in found.items()]


def made(result: Result) -> str:
    """By what command, with what, and how long it took."""
    with_ = ", ".join(f"{name} {str(value)[:12]}" for name, value in result.versions.items())
    took = "time not recorded" if result.seconds is None else f"{seconds_text(result.seconds)} of one core"
    return f"`{result.command}`: {took}; {with_}."


def overview(found: Iterable[tuple[str, Experiment, Result | None]]) -> str:
    """A line for each experiment: name, what it was read from, and its full result."""
    rows = []
    for name, asked, result in found:
        link = name if result is None else f"[{name}](results/{name}/{result.variant}.md)"
        told = ["not run yet", "", f"`{command(name)}`", ""] if result is None else _told(result)
        rows.append([link, asked.claim, asked.source, *told])
    heads = ["experiment", "claim", "source", "status", "figures", "command", "machine-hours"]
    return _table(heads, rows, "---")


def command(name: str, variant: str = "full", words: Sequence[str] = ()) -> str:
    """The command that makes a result."""
    return " ".join(["python -m fedsparse.experiment", name, *([variant] * (variant != "full")), *words])


def _told(result: Result) -> list[str]:
    hours = "not recorded" if result.seconds is None else f"{result.seconds / 3600:.2g}"
    figures = "<br>".join(_figures(result.seen))
    return [result.status, figures, f"`{result.command}`", hours]


def _figures(seen: Sequence[Seen]) -> list[str]:
    """Each statement; of many only those that do not hold."""
    shown = seen if len(seen) <= _MOST else [each for each in seen if not each.holds]
    texts = [f"{each.says}: {each.found}{'' if each.holds else ' (**no**)'}" for each in shown]
    return (
        texts
        if len(shown) == len(seen)
        else [f"{len(seen) - len(shown)} of {len(seen)} statements hold", *texts]
    )


def ends_table(asked: Experiment, ends: Sequence[End]) -> str:
    """A line for each method on each panel: its end, the cost of that and of reaching targets, and further figures."""
    axis, chosen = AXES[asked.against], any(end.chosen for end in ends)
    panels = any(end.panel for end in ends)
    heads = [
        *(["panel"] * panels),
        "method",
        *(["chosen"] * chosen),
        f"{asked.called or asked.metric} at the end",
        "rounds",
        axis.short,
    ]
    heads += [*(f"{axis.short} to {target:g}" for target in asked.targets), *asked.columns]
    rows = []
    for end in ends:
        row = [
            *([end.panel] * panels),
            end.method,
            *([_chosen(asked, end)] * chosen),
            _value(end),
            str(end.rounds),
        ]
        row += [axis.text(end.cost), *(_reached(end, target, axis) for target in asked.targets)]
        rows.append([*row, *(_figure(end, name) for name in asked.columns.values())])
    return _table(heads, rows, "---:")


def _chosen(asked: Experiment, end: End) -> str:
    edge = _edges(asked, end)
    return ", ".join(
        f"{key.removeprefix('strategy.')} {value:g}{'*' * (key in edge)}"
        if isinstance(value, int | float)
        else f"{key} {value}"
        for key, value in end.chosen.items()
    )


def _edges(asked: Experiment, end: End) -> list[str]:
    """Keys with a value at an end of what was tried."""
    return edges(asked.tune.tried(end.method), end.chosen) if asked.tune and end.chosen else []


def _value(end: End) -> str:
    if end.mean is None or end.lowest is None or end.highest is None:
        return "diverged"
    if end.lowest == end.highest:
        return number_text(end.mean)
    return f"{number_text(end.mean)} ({number_text(end.lowest)} to {number_text(end.highest)})"


def _reached(end: End, target: float, axis: Axis) -> str:
    cost = end.to.get(f"{target:g}")
    return "–" if cost is None else axis.text(cost)


def _figure(end: End, name: str) -> str:
    return value_text(name, end.figures[name]) if name in end.figures else "–"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], ruled: str) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|---|" + f"{ruled}|" * (len(heads) - 1)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
