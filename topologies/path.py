"""A line: two ends, and everyone else between two neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from fedsparse.graphs import Topology


@dataclass(frozen=True)
class Path(Topology):
    """The path graph: client i and client i+1 are neighbours.

    With Metropolis weights ρ = (1 + 2 cos(π/n)) / 3.
    """

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        return nx.path_graph(clients)
