"""In each exchange everyone sends to some random others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import networkx as nx

from fedsparse import rng
from fedsparse.graphs import Topology
from fedsparse.options import option


@dataclass(frozen=True)
class Epidemic(Topology):
    """Epidemic learning, EL-Local (de Vos et al., NeurIPS 2023, arXiv:2310.01972).

    In each exchange client i sends to s = ``degree`` others, drawn uniformly without replacement; who hears k values
    averages them with its own, each with the weight 1 / (k+1). Row stochastic only, so that the mean drifts.
    """

    rule: ClassVar[str] = "uniform"

    degree: int = option(2, "others s that a client sends to", at_least=1)

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        if self.degree >= clients:
            self.refuse(f"degree={self.degree}: must be below the number of clients, {clients}")
        graph = nx.DiGraph()
        graph.add_nodes_from(range(clients))
        draw = rng.stream(seed, "topology:epidemic", t)
        for i in range(clients):
            drawn = draw.choice(clients - 1, self.degree, replace=False)
            graph.add_edges_from((i, int(other) + (other >= i)) for other in drawn)
        return graph

    def period(self, clients: int) -> None:
        """The graphs never repeat."""
        return
