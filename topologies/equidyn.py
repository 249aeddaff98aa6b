"""EquiTopo's changing graphs: one neighbour in each exchange, at a speed that does not depend on the number."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from fedsparse import rng
from fedsparse.graphs import Topology, derived
from fedsparse.options import option
from fedsparse.topologies.equistatic import circulant, offsets


@dataclass(frozen=True)
class EquiDyn(Topology):
    """OD- and OU-EquiDyn (Song et al., NeurIPS 2022, arXiv:2210.07881).

    Each exchange draws an offset a, and with A its basis matrix (see ``equistatic``) W = (1-η) I + ηA.
    Undirected, a random start s is drawn as well, and i = s, s+1, ... is matched with i+a if both are free: A =
    I/n + (n-1)/n matching. η near 1 is nearly a permutation, which agrees slowly.
    """

    eta: float = option(0.5, "share η of what is heard", above=0, at_most=1)
    degree: int | None = option(None, "offsets that are drawn once, to choose from; null: all", at_least=1)
    directed: bool = option(
        False, "everyone hears one and is heard by another (OD), rather than in pairs (OU)"
    )

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        draw = rng.stream(seed, "topology:equidyn", t)
        some = self._some(clients, seed)
        hop = some[draw.integers(len(some))] if some else int(draw.integers(1, clients))
        if self.directed:
            return circulant(clients, [hop], directed=True, share=self.eta)
        return matched(clients, hop, int(draw.integers(clients)), share=self.eta)

    def _some(self, clients: int, seed: int) -> list[int]:
        """The offsets to choose from; none: all."""
        if self.degree is None:
            return []
        return offsets(clients, self.degree, derived(seed, "equidyn"))

    def period(self, clients: int) -> None:
        """The graphs never repeat."""
        return

    def reach(self, clients: int, seed: int = 0) -> nx.Graph | None:
        """Everyone and those at the offsets to choose from."""
        some = self._some(clients, seed)
        return circulant(clients, some, directed=self.directed) if some else None


def matched(clients: int, hop: int, start: int, *, share: float = 1.0) -> nx.Graph:
    """From ``start`` on, each client is matched with the one ``hop`` places further, where both are free."""
    graph = nx.Graph()
    graph.add_nodes_from(range(clients))
    free = [True] * clients
    for step in range(clients):
        i = (start + step) % clients
        j = (i + hop) % clients
        if free[i] and free[j]:
            free[i] = free[j] = False
            graph.add_edge(i, j, weight=share * (clients - 1) / clients)
    return graph
