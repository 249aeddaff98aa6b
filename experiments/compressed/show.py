"""Curves as a picture, and as a file of numbers."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from experiments.compressed.curves import Curve

__all__ = ["draw", "write_csv"]

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
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot(
            curve.up[at],
            curve.value[at],
            color=colour,
            linestyle=_LINES[number % len(_LINES)],
            marker=_MARKS[number % len(_MARKS)],
            markersize=5,
            # Marks of curves that lie on each other stand beside each other.
            markevery=(0.02 + 0.09 * number / len(curves), 0.11),
            linewidth=1.5,
            label=curve.label + (" (diverged)" if curve.diverged else ""),
        )
        if not np.array_equal(curve.low, curve.high):
            floor = np.maximum(curve.low[at], curve.value[at].min() / 10)
            axes.fill_between(curve.up[at], floor, curve.high[at], color=colour, alpha=0.15, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel="bytes sent by all clients together", ylabel=axis)
    figure.suptitle(title, fontsize="medium")
    axes.xaxis.set_major_formatter(_bytes)
    axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize="small")
    stem.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": stem.name}):  # the same curves give the same file
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(stem.with_suffix(".png"), dpi=110, metadata={"Software": None})


def _bytes(value: float, _: int) -> str:
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
