"""Random places in the unit square; who is near hears each other."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi, sqrt

import networkx as nx

from fedsparse.graphs import Topology, connected
from fedsparse.options import option


@dataclass(frozen=True)
class Geometric(Topology):
    """The random geometric graph: clients within ``radius`` of each other are neighbours, as radios would be.

    Drawn again until it is connected, which happens above a radius of about sqrt(ln(n) / (πn)). Places are in the node
    attribute ``pos``.
    """

    radius: float | None = option(
        None, "reach, in sides of the square; null: 1.5 times the threshold of connectivity", above=0
    )

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        threshold = sqrt(log(clients) / (pi * clients))
        radius = 1.5 * threshold if self.radius is None else self.radius

        def draw(seed: int) -> nx.Graph:
            return nx.random_geometric_graph(clients, radius, seed=seed)

        return connected(self, draw, seed, f"raise topology.radius={radius:.3g}")
