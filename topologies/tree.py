"""A hierarchy: everyone has a parent and up to so many children."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from fedsparse.graphs import Topology
from fedsparse.options import option


@dataclass(frozen=True)
class Tree(Topology):
    """A rooted tree, filled level by level.

    Client 0 is the root, and client i has the parent (i-1) // ``branching``.
    """

    branching: int = option(2, "children of a client", at_least=1)

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        return nx.full_rary_tree(self.branching, clients)
