"""Everyone hears everyone."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from fedsparse.graphs import Topology


@dataclass(frozen=True)
class Complete(Topology):
    """The complete graph. With Metropolis weights one exchange is an average of all: ρ = 0."""

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        return nx.complete_graph(clients)
