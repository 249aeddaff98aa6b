"""Curves as a picture, and as a file of numbers."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from experiments.curves import Curve

__all__ = ["bytes_of", "draw", "save", "style", "write_csv"]

# The colours of Okabe and Ito and two of Tol, which people tell apart who see few of them; marks and lines differ, too.
_COLOURS = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#7F7F7F", "#882255", "#999933",
)  # fmt: skip
_MARKS = ("o", "s", "^", "v", "D", "P", "X", "*", "<", ">")
_LINES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
_POINTS = 120


def draw(curves: Sequence[Curve], title: str, axis: str, stem: Path) -> None:
    """Writes ``stem.png`` and ``stem.svg``: the metric against the bytes from clients, both logarithmic."""
    figure = Figure(figsize=(9.5, 5), layout="constrained")
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        at = [place for place in curve.thinned(_POINTS) if curve.value[place] > 0]
        look = style(number, len(curves))
        label = curve.label + (" (diverged)" if curve.diverged else "")
        axes.plot(curve.up[at], curve.value[at], label=label, **look)
        if not np.array_equal(curve.low, curve.high):
            floor = np.maximum(curve.low[at], curve.value[at].min() / 10)
            axes.fill_between(
                curve.up[at], floor, curve.high[at], color=look["color"], alpha=0.15, linewidth=0
            )
    axes.set(xscale="log", yscale="log", xlabel="bytes sent by all clients together", ylabel=axis)
    figure.suptitle(title, fontsize="medium")
    axes.xaxis.set_major_formatter(bytes_of)
    axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize="small")
    save(figure, stem)


def save(figure: Figure, stem: Path) -> None:
    """Writes ``stem.png`` and ``stem.svg``; the same picture gives the same files."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": stem.name}):
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(stem.with_suffix(".png"), dpi=110, metadata={"Software": None})


def style(number: int, of: int) -> dict[str, Any]:
    """How the curve of that number is drawn, among ``of`` in all: in colours, marks and lines of its own."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _LINES[number % len(_LINES)],
        "marker": _MARKS[number % len(_MARKS)],
        "markersize": 5,
        # Marks of curves that lie on each other stand beside each other.
        "markevery": (0.02 + 0.09 * number / of, 0.11),
        "linewidth": 1.5,
    }


def bytes_of(value: float, _: int) -> str:
    """A tick of an axis of bytes."""
    if value <= 0:
        return "0"
    power = min(3, max(0, math.floor(math.log10(value) / 3)))
    return f"{value / 1000**power:g} {('B', 'kB', 'MB', 'GB')[power]}"


def write_csv(curves: Sequence[Curve], path: Path, points: int = 50) -> None:
    """Writes some points of each curve, the last one among them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["method", "rounds", "up_bytes", "lowest", "mean", "highest"])
        for curve in curves:
            for at in curve.thinned(points):
                values = [f"{float(every[at]):.6g}" for every in (curve.low, curve.value, curve.high)]
                out.writerow([curve.label, int(curve.rounds[at]), round(float(curve.up[at])), *values])
