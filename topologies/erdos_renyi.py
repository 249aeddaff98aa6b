"""A random graph in which every pair is linked with the same probability."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import networkx as nx

from fedsparse.graphs import Topology, connected
from fedsparse.options import option


@dataclass(frozen=True)
class ErdosRenyi(Topology):
    """The Erdos-Renyi (Gilbert) graph G(n, p).

    Drawn again until it is connected, which it mostly is where p is above ln(n) / n.
    """

    p: float | None = option(
        None,
        "probability of a link; null: 2 ln(n) / n, twice the threshold of connectivity",
        above=0,
        at_most=1,
    )

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        threshold = log(clients) / clients
        p = min(1.0, 2 * threshold) if self.p is None else self.p

        def draw(seed: int) -> nx.Graph:
            return nx.fast_gnp_random_graph(clients, p, seed=seed)

        return connected(self, draw, seed, f"raise topology.p={p:.3g}; ln(n) / n is {threshold:.3g}")
