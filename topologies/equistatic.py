"""EquiTopo's static graphs: a speed that does not depend on the number of clients."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import networkx as nx

from fedsparse import rng
from fedsparse.graphs import Topology, connected
from fedsparse.options import option


@dataclass(frozen=True)
class EquiStatic(Topology):
    """D- and U-EquiStatic (Song et al., NeurIPS 2022, arXiv:2210.07881).

    The basis matrix of an offset a in 1 .. n-1 has A[i, i+a mod n] = (n-1)/n and A[i, i] = 1/n: everyone hears
    the one a places further. W is the mean of M = ``degree`` of them, drawn uniformly with replacement;
    undirected, (W + W^T) / 2. From M = 8 ln(2n/q) / (3ε²) on it has ρ < ε with probability 1-q. Drawn again until
    it is connected.
    """

    degree: int = option(8, "offsets M that are drawn", at_least=1)
    directed: bool = option(False, "everyone hears M others (D-EquiStatic), rather than M on either side")

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""

        def draw(seed: int) -> nx.Graph:
            return circulant(clients, offsets(clients, self.degree, seed), directed=self.directed)

        return connected(self, draw, seed, "raise topology.degree")


def offsets(clients: int, count: int, seed: int) -> list[int]:
    """``count`` offsets from 1 .. clients-1, drawn with replacement."""
    return [int(a) for a in rng.stream(seed, "topology:offsets").integers(1, clients, count)]


def circulant(clients: int, hops: list[int], *, directed: bool, share: float = 1.0) -> nx.Graph:
    """Everyone hears those ``hops`` places further: (1 - share) I + share times the mean of their basis matrices.

    Args:
        clients: n.
        hops: the offsets a; one that is there twice counts twice.
        directed: else, each half of a weight goes either way.
        share: how much of the mean is taken.
    """
    graph = nx.DiGraph() if directed else nx.Graph()
    each = share * (clients - 1) / clients / len(hops) / (1 if directed else 2)
    weights: Counter[tuple[int, int]] = Counter()
    for hop, times in Counter(hops).items():
        for i in range(clients):
            heard = (i + hop) % clients
            pair = (heard, i) if directed else (min(heard, i), max(heard, i))
            # A pair that is met from both its ends has the weight of both.
            weights[pair] += times * each
    graph.add_weighted_edges_from((u, v, weight) for (u, v), weight in weights.items())
    return graph
