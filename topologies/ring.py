"""Every client between two neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from fedsparse.graphs import Topology


@dataclass(frozen=True)
class Ring(Topology):
    """The cycle graph: client i and client i+1 mod n are neighbours.

    With Metropolis weights ρ = (1 + 2 cos(2π/n)) / 3 from three clients on.
    """

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        return nx.cycle_graph(clients)
