"""A small world: a ring lattice, some of whose links go elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from fedsparse.graphs import Topology, connected
from fedsparse.options import option


@dataclass(frozen=True)
class WattsStrogatz(Topology):
    """The Watts-Strogatz graph.

    Everyone is linked with the k = ``degree`` nearest on a ring, and each link moves one end to a random client with
    probability p. Drawn again until it is connected.
    """

    degree: int = option(4, "neighbours k on the ring, an even number", at_least=2)
    p: float = option(0.3, "probability that a link is moved", at_least=0, at_most=1)

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        if self.degree % 2 or self.degree >= clients:
            self.refuse(f"degree={self.degree}: must be even and below the number of clients, {clients}")

        def draw(seed: int) -> nx.Graph:
            return nx.watts_strogatz_graph(clients, self.degree, self.p, seed=seed)

        return connected(self, draw, seed, "raise topology.degree, or lower topology.p")
