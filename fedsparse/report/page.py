"""A report as one HTML file, which needs nothing else: no network, no server, no library."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from fedsparse.records import lower_is_better
from fedsparse.report.advice import advice
from fedsparse.report.comparison import Comparison
from fedsparse.report.course import Floats, Run
from fedsparse.report.curves import side_by_side, thinned
from fedsparse.report.groups import Group
from fedsparse.report.palette import DARK, DASHES, LIGHT, MARKERS, look
from fedsparse.report.tables import TableText, tables
from fedsparse.units import number_text

__all__ = ["page"]

_SCRIPTS = ("chart.js", "page.js", "controls.js")
_MOST_GROUPS = 40
_MOST_SHOWN = 10
_MOST_ROWS = 200
_POINTS = 300
_SEED_POINTS = 40_000
"""Points of single seeds in the page, all together; the rest is in the CSV files."""


def page(c: Comparison, *, refresh_s: int | None = None) -> str:
    """The text of the file.

    Args:
        c: what is shown.
        refresh_s: seconds after which a browser reads it again, while runs go on.
    """
    order = _chosen(c)
    title = f"{_title(c.metric)} against {c.axis.label}"
    parts = {
        "title": html.escape(title),
        "refresh": f'<meta http-equiv="refresh" content="{refresh_s}">' if refresh_s else "",
        "live": f' <span class="live">live, every {refresh_s} s</span>' if refresh_s else "",
        "about": html.escape(_about(c)),
        "advice": _card("In short", "short", [f"<p>{html.escape(s)}</p>" for s in advice(c)]),
        "warnings": _warnings(c),
        "drawn": ""
        if len(order) == len(c.groups)
        else f"{len(order)} of {len(c.groups)} methods: the best at the end, and those on the front.",
        "tables": "\n".join(_table(table) for table in tables(c)),
        "made": html.escape(_made(c)),
        "data": json.dumps(_data(c, order), separators=(",", ":"), allow_nan=False).replace("<", r"\u003c"),
        "style": _filled(_file("page.css"), {"light": _colours(LIGHT), "dark": _colours(DARK)}),
        "script": "\n".join(
            _file(name).replace('"use strict";\n', "" if place else '"use strict";\n')
            for place, name in enumerate(_SCRIPTS)
        ),
    }
    return _filled(_file("page.html"), parts)


def _file(name: str) -> str:
    return files("fedsparse.report").joinpath(name).read_text(encoding="utf-8")


def _filled(text: str, parts: Mapping[str, str]) -> str:
    """The text with ``{{name}}`` replaced, once: what is put in is not looked at again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], text)


def _colours(colours: Sequence[str]) -> str:
    return " ".join(f"--c{place}: {colour};" for place, colour in enumerate(colours))


def _title(metric: str) -> str:
    text = metric.replace("_", " ")
    return text[:1].upper() + text[1:]


def _about(c: Comparison) -> str:
    runs = sum(len(group.runs) for group in c.groups)
    first = c.groups[0].runs[0].config
    task = ", ".join(
        str(first[key])
        for key in ("data", "partition", "model")
        if first.get(key) and all(key not in g.settings for g in c.groups)
    )
    said = f"{runs} run{'s' * (runs != 1)} of {len(c.groups)} configuration{'s' * (len(c.groups) != 1)}"
    return f"{said} · {task}" if task else said


def _made(c: Comparison) -> str:
    """What the runs were made with, where that is the same for all."""
    versions = c.groups[0].runs[0].versions
    same = {
        k: v for k, v in versions.items() if all(run.versions.get(k) == v for g in c.groups for run in g.runs)
    }
    return (
        "Made with " + ", ".join(f"{name} {str(value)[:12]}" for name, value in same.items()) + "."
        if same
        else ""
    )


# ---- what stands there without a script


def _card(title: str, kind: str, inner: Sequence[str]) -> str:
    return f'<section class="card {kind}"><h2>{html.escape(title)}</h2>{"".join(inner)}</section>'


def _warnings(c: Comparison) -> str:
    found = [*c.warnings, *c.notes]
    if not found:
        return ""
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in found)
    return _card("Before believing it", "warn", [f"<ul>{items}</ul>"])


def _table(table: TableText) -> str:
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in table.head)
    rows = "".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>{"".join(map(_cell, row[1:]))}</tr>'
        for row in table.rows[:_MOST_ROWS]
    )
    more = len(table.rows) - _MOST_ROWS
    notes = [f"{more} more lines are in the Markdown file."] if more > 0 else []
    below = "".join(f'<p class="note">{html.escape(note)}</p>' for note in [*notes, *table.notes])
    kind = ' class="prose"' if table.prose else ""
    grid = f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    title = html.escape(_title(table.title))
    return (
        f'<section class="card" id="{table.name}"><h2>{title}</h2>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">{grid}</div>{below}</section>'
    )


def _cell(text: str) -> str:
    lead = ' class="lead"' if " *" in text or text == "best" else ""
    return f"<td{lead}>{html.escape(text)}</td>"


# ---- what the script draws


def _chosen(c: Comparison) -> list[int]:
    """The groups that are drawn: all, or the best at the end and those on the front."""
    order = [*dict.fromkeys([*c.ends.order, *range(len(c.groups))])]
    if len(order) <= _MOST_GROUPS:
        return order
    on_front = [stretch.group for stretch in c.front][:_MOST_SHOWN]
    return [*dict.fromkeys([*on_front, *order])][:_MOST_GROUPS]


def _data(c: Comparison, order: Sequence[int]) -> dict[str, Any]:
    drawn = [c.groups[place] for place in order]
    points = sum(len(run.course) for group in drawn for run in group.runs) * len(c.metrics)
    most = max(20, int(_POINTS * min(1.0, _SEED_POINTS / max(points, 1))))
    return {
        "metric": c.metric,
        "metrics": [
            {"name": name, "label": name.replace("_", " "), "lower": lower_is_better(name)}
            for name in c.metrics
        ],
        "axis": c.axis.name if c.axis in c.axes else c.axes[0].name if c.axes else "rounds",
        "axes": [{"name": axis.name, "label": axis.label, "unit": axis.unit} for axis in c.axes],
        "target": c.target,
        "targetText": "" if c.target is None else f"{c.metric} {number_text(c.target)}",
        "dashes": DASHES,
        "markers": MARKERS,
        "hidden": list(range(_MOST_SHOWN, len(drawn))),
        "groups": [_group(c, group, place, most) for place, group in enumerate(drawn)],
    }


def _group(c: Comparison, group: Group, place: int, most: int) -> dict[str, Any]:
    curves = {name: side_by_side(group.runs, name) for name in c.metrics}
    any_curve = curves[c.metric]
    keep = thinned(len(any_curve.mean), _POINTS)
    how = look(place)
    return {
        "label": group.label,
        "look": {"colour": how.colour, "dash": how.dash, "marker": how.marker},
        "costs": {
            axis.name: _numbers(any_curve.costs[axis.name], keep)
            for axis in c.axes
            if axis.name in any_curve.costs
        },
        "metrics": {
            n: {"mean": _numbers(curve.mean, keep), "half": _numbers(curve.half, keep)}
            for n, curve in curves.items()
        },
        "seeds": [_seed(c, run, most) for run in group.runs] if len(group.runs) > 1 else [],
        "needed": _needed(c, group),
    }


def _seed(c: Comparison, run: Run, most: int) -> dict[str, Any]:
    keep = thinned(len(run.course), most)
    return {
        "seed": run.seed,
        "costs": {axis.name: _numbers(run.course.cost(axis.name), keep) for axis in c.axes},
        "metrics": {name: _numbers(run.course.metric(name), keep) for name in c.metrics},
    }


def _needed(c: Comparison, group: Group) -> dict[str, Any] | None:
    if c.target is None:
        return None
    found = {axis.name: (c.needed(group, axis), axis) for axis in c.axes}
    return {
        name: {
            "reached": list(needed.reached),
            "censored": list(needed.censored),
            "median": needed.median if math.isfinite(needed.median) else None,
            "text": needed.text(axis),
        }
        for name, (needed, axis) in found.items()
    }


def _numbers(values: Floats, keep: np.ndarray) -> list[float | None]:
    """Six digits of each, which is more than a screen shows; ``None`` for what is not finite."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values[keep]]
