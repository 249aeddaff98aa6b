"""A server and its clients."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx


@dataclass(frozen=True)
class Star:
    """Every client talks to the server and to nobody else; the server is not a client."""

    def graph(self, clients: int) -> nx.Graph:
        """The graph with nodes ``0 .. clients-1`` and ``"server"``."""
        graph = nx.Graph()
        graph.add_edges_from((client, "server") for client in range(clients))
        return graph
