"""A graph as a picture file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fedsparse.errors import ConfigError
from fedsparse.graphs import Matrices

__all__ = ["draw"]

_PANELS = 6
_MOST_NODES = 400


def draw(matrices: Matrices, path: str) -> None:
    """One panel for each exchange of a period, at most six.

    Up to 400 clients as nodes, in a circle or at the places that the topology gives (``pos``); more of them as the
    dots of the mixing matrix.

    Args:
        matrices: the graph with its weights.
        path: the picture; its suffix is the format.

    Raises:
        ConfigError: there is no such format, or the file cannot be written.
    """
    panels = min(matrices.period or _PANELS, _PANELS)
    across = min(panels, 3)
    down = -(-panels // across)
    figure = Figure(figsize=(4 * across, 4 * down), layout="constrained")
    every = np.asarray(figure.subplots(down, across, squeeze=False)).ravel()
    for t, axes in enumerate(every):
        axes.set(xticks=[], yticks=[], aspect="equal")
        if t < panels:
            _panel(axes, matrices, t)
        if panels > 1:
            axes.set_title(f"exchange {t}", fontsize="small")
    try:
        figure.savefig(Path(path).expanduser())
    except (OSError, ValueError) as error:
        raise ConfigError(f"draw={path}: cannot be written: {error}") from None


def _panel(axes: Axes, matrices: Matrices, t: int) -> None:
    if matrices.clients > _MOST_NODES:
        axes.spy(matrices.at(t), markersize=0.5)
        axes.set(xticks=[], yticks=[])
        return
    graph = matrices.graph(t)
    places = _places(graph, matrices.clients)
    ends: NDArray[Any] = np.array(list(graph.edges)).reshape(-1, 2).astype(int)
    if graph.is_directed():
        start, span = places[ends[:, 0]], places[ends[:, 1]] - places[ends[:, 0]]
        axes.quiver(*start.T, *span.T, angles="xy", scale_units="xy", scale=1, width=0.003, color="0.6")
    else:
        axes.add_collection(LineCollection(list(places[ends]), colors="0.6", linewidths=0.8))
    axes.plot(*places.T, "o", markersize=max(2.0, 8 - matrices.clients / 40), color="C0")
    axes.set_axis_off()


def _places(graph: nx.Graph, clients: int) -> NDArray[np.float64]:
    """Where the clients are drawn, ``[n, 2]``."""
    given = nx.get_node_attributes(graph, "pos")
    if len(given) == clients:
        return np.array([given[client] for client in range(clients)], dtype=np.float64)
    angles = np.pi / 2 - 2 * np.pi * np.arange(clients) / clients
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)
