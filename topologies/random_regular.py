"""A random graph in which everyone has equally many neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from fedsparse.graphs import Topology, connected
from fedsparse.options import option


@dataclass(frozen=True)
class RandomRegular(Topology):
    """A random k-regular graph, k = ``degree``; drawn again until it is connected."""

    degree: int = option(4, "neighbours k of a client", at_least=1)

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        if self.degree >= clients:
            self.refuse(f"degree={self.degree}: {clients} clients have at most {clients - 1} neighbours each")
        if clients * self.degree % 2:
            self.refuse(
                f"degree={self.degree}: clients times degree must be even, and {clients} times {self.degree} is not; "
                "change one of them by one"
            )

        def draw(seed: int) -> nx.Graph:
            return nx.random_regular_graph(self.degree, clients, seed=seed)

        return connected(self, draw, seed, "raise topology.degree, 3 is nearly always enough")
