"""In each exchange a client hears some random others, or none, by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import networkx as nx

from fedsparse import rng
from fedsparse.graphs import Topology
from fedsparse.options import option


@dataclass(frozen=True)
class Pull(Topology):
    """The sparse random exchanges of "A Single Merging Suffices" (Zhu et al., 2025, arXiv:2507.06542).

    In each exchange client i hears r = ``peers`` others in expectation, whole ones for sure and one more with the
    probability of the fraction, drawn uniformly without replacement; it averages k values with its own, each with the
    weight 1 / (k+1). With r = 0.2 every fifth client hears one. Row stochastic only, so that the mean drifts.
    """

    rule: ClassVar[str] = "uniform"

    peers: float = option(0.2, "others r that a client hears, in expectation", above=0)

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        if self.peers > clients - 1:
            self.refuse(f"peers={self.peers}: must be at most the number of others, {clients - 1}")
        graph = nx.DiGraph()
        graph.add_nodes_from(range(clients))
        draw = rng.stream(seed, "topology:pull", t)
        whole = int(self.peers)
        for i in range(clients):
            count = whole + int(draw.random() < self.peers - whole)
            drawn = draw.choice(clients - 1, count, replace=False)
            graph.add_edges_from((int(other) + (other >= i), i) for other in drawn)
        return graph

    def period(self, clients: int) -> None:
        """The graphs never repeat."""
        return
