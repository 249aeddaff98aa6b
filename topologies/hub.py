"""A star among clients: client 0 is everybody's neighbour."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from fedsparse.graphs import Topology


@dataclass(frozen=True)
class Hub(Topology):
    """Client 0 in the centre, all others around it: the star graph of the gossip literature.

    The centre is a client like any other, with data of its own. With a server in the centre it is ``star``.
    With Metropolis weights ρ = 1 - 1/n.
    """

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        return nx.star_graph(clients - 1)
