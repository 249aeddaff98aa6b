"""Figures for a paper: a metric against each axis, one column wide, that can be read in black and white."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from fedsparse.report.axes import Axis
from fedsparse.report.comparison import Comparison
from fedsparse.report.palette import DASHES, LIGHT, MARKERS, look

__all__ = ["MOST", "figures", "save"]

MOST = 10
"""Methods in a figure; of more the best."""

_MARKERS = {
    "circle": "o",
    "square": "s",
    "triangle": "^",
    "diamond": "D",
    "cross": "X",
    "plus": "P",
    "down": "v",
}
_STYLE: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "fedsparse",
}
_WIDTH, _HEIGHT = 3.5, 2.3  # inches: one column of a paper with two
_SMALL, _HANDLE, _AFTER, _GAP = 7.0, 3.4, 0.8, 1.2  # of the legend: points; then widths in letters
_LONG = 52  # letters that fit into one line of it
_WIDE = 30.0  # from this ratio of largest to smallest on an axis is logarithmic


def figures(c: Comparison) -> Iterator[tuple[str, Figure]]:
    """A figure for each axis, with its name."""
    for axis in c.axes:
        with mpl.rc_context(rc=_STYLE):
            yield f"{c.metric}-{axis.name}", _figure(c, axis)


def save(figure: Figure, path: Path) -> None:
    """Writes a figure; its suffix is the format. Equal figures are equal files."""
    with mpl.rc_context(rc=_STYLE):
        figure.savefig(path, dpi=300, metadata={"Date": None} if path.suffix == ".svg" else None)


def _figure(c: Comparison, axis: Axis) -> Figure:
    shown = (c.ends.order or list(range(len(c.groups))))[:MOST]
    labels = [_wrapped(c.groups[place].label) for place in shown]
    columns = _columns(labels)
    lines = math.ceil(len(shown) / columns) + sum(label.count("\n") for label in labels)
    figure = Figure(figsize=(_WIDTH, _HEIGHT + 0.16 * lines), layout="constrained")
    axes = figure.subplots()
    for place in shown:
        _line(axes, c, axis, place)
    _scales(axes, c, axis)
    axes.set_xlabel(axis.label)
    axes.set_ylabel(c.metric.replace("_", " "))
    if c.target is not None:
        axes.axhline(c.target, color="0.55", linewidth=0.7, linestyle=(0, (1, 2)), zorder=1)
    figure.legend(
        loc="outside lower center", ncols=columns, handlelength=_HANDLE, columnspacing=_GAP, fontsize=_SMALL
    )
    return figure


def _columns(labels: Sequence[str]) -> int:
    """Columns of the legend, at most three, in which it is no wider than the figure."""
    widths = [TextPath((0, 0), label, size=_SMALL).get_extents().width for label in labels]
    for columns in (3, 2):
        if columns > len(labels):
            continue
        # Matplotlib fills one column after the other; the first ones get one more where they cannot be equal.
        wide = [max(part) for part in np.array_split(widths, columns)]
        beside = _SMALL * (columns * (_HANDLE + _AFTER) + (columns - 1) * _GAP)
        if sum(wide) + beside <= 72 * _WIDTH - 2 * _SMALL:
            return columns
    return 1


def _wrapped(label: str) -> str:
    return textwrap.fill(label, _LONG)


def _line(axes: Axes, c: Comparison, axis: Axis, place: int) -> None:
    curve, how = c.curves[place], look(place)
    x = curve.costs.get(axis.name)
    if x is None or not len(x):
        return
    colour = LIGHT[how.colour]
    axes.plot(
        x,
        curve.mean,
        color=colour,
        linestyle=(0, DASHES[how.dash]) if DASHES[how.dash] else "-",
        marker=_MARKERS[MARKERS[how.marker]],
        markersize=3.4,
        markeredgecolor="white",
        markeredgewidth=0.4,
        markevery=max(1, len(x) // 6),
        label=_wrapped(c.groups[place].label),
        zorder=3,
    )
    if np.isfinite(curve.half).all():
        axes.fill_between(
            x, curve.mean - curve.half, curve.mean + curve.half, color=colour, alpha=0.14, linewidth=0
        )


def _scales(axes: Axes, c: Comparison, axis: Axis) -> None:
    # Not every run has every cost: a server's has none on the air.
    known = [cost for curve in c.curves if (cost := curve.costs.get(axis.name)) is not None and len(cost)]
    spent, values = np.concatenate(known), np.concatenate([curve.mean for curve in c.curves])
    if _wide(np.array([cost[-1] for cost in known])) and spent.min() > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(axis, value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if c.lower and _wide(values) and values.min() > 0:
        axes.set_yscale("log")
        axes.set_ylim(values.min() / 1.5, values.max() * 1.5)
        return
    # The frame follows the means; a wide interval is cut by it.
    low, high = np.nanmin(values), np.nanmax(values)
    room = 0.06 * (high - low) or 0.5
    axes.set_ylim(low - room, high + room)


def _wide(values: np.ndarray) -> bool:
    """Whether one amount is so much more than another that a linear axis would hide the latter."""
    found = values[np.isfinite(values) & (values > 0)]
    return len(found) > 0 and bool(found.max() > _WIDE * found.min())


def _tick(axis: Axis, value: float) -> str:
    """An amount on an axis: ``500 kB`` and not ``500.0 kB``."""
    if value == 0:
        return "0"
    text = axis.text(value)
    number, blank, unit = text.partition(" ")
    return (
        f"{float(number):g}{blank}{unit}"
        if axis.unit and number.replace(".", "").isdigit() and unit.isalpha()
        else text
    )
