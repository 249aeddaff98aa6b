"""In each exchange clients meet in pairs."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from fedsparse import rng
from fedsparse.graphs import Topology
from fedsparse.options import option
from fedsparse.topologies.complete import Complete


@dataclass(frozen=True)
class Matching(Topology):
    """Random matchings of a graph: its links are drawn in a random order, and taken while both ends are free.

    With ``pairs=1`` it is randomised gossip (Boyd et al., 2006): one uniformly drawn link averages, and the squared
    disagreement shrinks by 1 - λ_2(L) / (2|E|) in expectation. ``of`` is a graph that stays.
    """

    of: Topology = option(Complete(), "the graph whose links are matched")
    pairs: int | None = option(None, "pairs of an exchange at most; null: as many as fit", at_least=1)

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        draw = rng.stream(seed, "topology:matching", t)
        graph = nx.Graph()
        graph.add_nodes_from(range(clients))
        most = clients // 2 if self.pairs is None else self.pairs
        if isinstance(self.of, Complete):
            # The same distribution, without n^2 / 2 links: neighbours in a random order of the clients.
            order = draw.permutation(clients).tolist()
            graph.add_edges_from(list(zip(order[::2], order[1::2], strict=False))[:most])
            return graph
        links = list(self._under(clients, seed).edges)
        free = set(range(clients))
        for position in draw.permutation(len(links)):
            pair = links[position]
            if graph.number_of_edges() < most and free.issuperset(pair):
                graph.add_edge(*pair)
                free.difference_update(pair)
        return graph

    def period(self, clients: int) -> None:
        """The matchings never repeat."""
        return

    def reach(self, clients: int, seed: int = 0) -> nx.Graph | None:
        """The graph that is matched."""
        return None if isinstance(self.of, Complete) else self._under(clients, seed)

    def _under(self, clients: int, seed: int) -> nx.Graph:
        if self.of.server or self.of.period(clients) != 1:
            self.refuse(f"of={self.of.name}: must be a graph of clients that stays the same")
        graph = self.of.graph(clients, seed)
        if graph.is_directed():
            self.refuse(f"of={self.of.name}: is directed; pairs need links that go both ways")
        return graph
