"""Your own graph, from an edge list or a GraphML file."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from fedsparse.graphs import Topology
from fedsparse.graphs.reading import read_graph
from fedsparse.options import option


@dataclass(frozen=True)
class File(Topology):
    """A graph that is read from a file.

    ``.graphml`` and ``.xml`` are GraphML. Anything else is an edge list: a line ``u v`` or ``u v weight`` for
    each link, ``#`` starts a comment. Nodes are 0 .. n-1 without holes. Weights, if there are any, are mixing
    weights (the attribute ``weight`` in GraphML): what the receiver gives to the sender's value; it keeps what is
    left to one of its own.
    """

    path: str = option("", "the file; must be given")
    directed: bool = option(False, "u v says that u sends to v only; GraphML says so itself")

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        if not self.path:
            self.refuse("needs topology.path, an edge list or a GraphML file")
        return read_graph(self.path, directed=self.directed)
