"""A random graph with few hubs and many with few neighbours: who comes prefers those who have many."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from fedsparse.graphs import Topology, connected
from fedsparse.options import option


@dataclass(frozen=True)
class BarabasiAlbert(Topology):
    """The Barabasi-Albert graph.

    From a star of m+1 clients on, each newcomer is linked with m others, likelier with those that have many links.
    Connected by construction; clients of the first star may keep a single link.
    """

    links: int = option(2, "links m that a newcomer brings", at_least=1)

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        if self.links >= clients:
            self.refuse(f"links={self.links}: must be below the number of clients, {clients}")

        def draw(seed: int) -> nx.Graph:
            return nx.barabasi_albert_graph(clients, self.links, seed=seed)

        return connected(self, draw, seed, "raise topology.links")
