"""The corners of a cube of D dimensions: 2^D clients with D neighbours each."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from fedsparse.graphs import Topology


@dataclass(frozen=True)
class Hypercube(Topology):
    """Neighbours are those whose numbers differ in one binary digit. With Metropolis weights ρ = (D-1) / (D+1)."""

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        dimensions = clients.bit_length() - 1
        if clients != 1 << dimensions:
            near = f"{1 << dimensions} or {2 << dimensions}"
            self.refuse(f"needs a power of two of clients, not {clients}; take {near}")
        return nx.Graph((i, i ^ (1 << j)) for i in range(clients) for j in range(dimensions))
