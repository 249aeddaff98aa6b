"""A server and its clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import networkx as nx

from fedsparse.graphs import Topology


@dataclass(frozen=True)
class Star(Topology):
    """Every client talks to the server and to nobody else; the server is not a client.

    This is the graph of rounds with a server, and has no mixing matrix. The star of gossip, whose centre is a
    client, is ``hub``.
    """

    server: ClassVar[bool] = True

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """The graph with nodes ``0 .. clients-1`` and ``"server"``."""
        graph = nx.Graph()
        graph.add_edges_from((client, "server") for client in range(clients))
        return graph
