"""The picture of a partition."""

from __future__ import annotations

import os

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = ["draw_holdings"]

MOST_BARS = 200


def draw_holdings(
    path: str | os.PathLike[str], counts: NDArray[np.int64], unit: str = "examples", clients: int = 0
) -> None:
    """A stacked bar for each client. Above 200 clients, 200 of them, evenly spaced from largest to smallest.

    Args:
        path: the picture; its suffix is the format.
        counts: ``[clients, classes]``, how many examples of each class a client holds.
        unit: what is counted.
        clients: how many there are, where only some of them were counted.
    """
    rows, classes = counts.shape
    xlabel = "client"
    if rows > MOST_BARS:
        order = np.argsort(-counts.sum(axis=1), kind="stable")
        counts = counts[order[np.linspace(0, rows - 1, MOST_BARS).astype(int)]]
        xlabel = f"{MOST_BARS} of {max(clients, rows):,} clients, largest first"
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    colors = colormaps["tab10" if classes <= 10 else "turbo"](np.linspace(0, 1, max(classes, 2)))
    bottom = np.zeros(len(counts))
    for label in range(classes):
        axes.bar(
            np.arange(len(counts)),
            counts[:, label],
            width=1.0,
            bottom=bottom,
            color=colors[label],
            label=str(label),
        )
        bottom += counts[:, label]
    axes.set(xlabel=xlabel, ylabel=unit, xlim=(-0.5, len(counts) - 0.5))
    if 1 < classes <= 20:
        axes.legend(title="label", fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path)
