"""Base-(k+1) graphs: after a few exchanges all clients agree exactly, however many they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import networkx as nx

from fedsparse.graphs import Topology
from fedsparse.options import option

Link = tuple[int, int, float]
Rounds = list[list[Link]]


@dataclass(frozen=True)
class BaseGraph(Topology):
    """The Base-(k+1) graph (Takezawa, Sato, Bao, Niwa, Yamada, NeurIPS 2023, arXiv:2305.11420).

    Undirected and doubly stochastic, with at most k = ``degree`` neighbours in an exchange. The product of a period's
    matrices is 11^T/n for every n, and the period at most 2 log_{k+1}(n) + 2.

    * Hyper-hypercube of n' = c_1 ... c_m clients, all c_l <= k+1: in round l, those who agree in all mixed-radix
      digits but digit l average.
    * Simple Base-(k+1) graph of n = sum_l a_l (k+1)^{p_l} clients, p_1 > p_2 > ..., 1 <= a_l <= k, in blocks V_l
      of a_l parts: (1) every block agrees within itself; (2) in exchange l, each client of the later blocks
      averages with one of each part of V_l, so that the later ones reach the mean of V_l, V_{l+1}, ...; (3) every
      part agrees within itself. A block begins (3) once its turn in (2) is over.
    * Base-(k+1) graph of n = pq, p without prime factors above k+1: p Simple Base graphs of q clients side by
      side, then hyper-hypercubes of p clients across; or the Simple Base graph of all, where that is shorter.

    Departure: clients of V_l that have no partner in (2) wait; the authors' program lets them average among themselves.
    """

    degree: int = option(1, "neighbours k of an exchange at most", at_least=1)

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        rounds = base(clients, self.degree)
        graph = nx.Graph()
        graph.add_nodes_from(range(clients))
        graph.add_weighted_edges_from(rounds[t % len(rounds)])
        return graph

    def period(self, clients: int) -> int:
        """Exchanges until all agree."""
        return len(base(clients, self.degree))


@lru_cache(maxsize=8)
def base(n: int, k: int) -> Rounds:
    """The rounds of the Base-(k+1) graph of ``0 .. n-1``, each a list of links with their weights."""
    simple = simple_base(list(range(n)), k)
    p = _smooth_part(n, k)
    q = n // p
    beside = _together([simple_base(list(range(b * q, (b + 1) * q)), k) for b in range(p)])
    across = _together([hyper_hypercube(list(range(j, n, q)), k) for j in range(q)])
    composed = beside + across
    return composed if len(composed) < len(simple) else simple


def simple_base(nodes: list[int], k: int) -> Rounds:
    """The rounds of the Simple Base-(k+1) graph."""
    if _smooth_part(len(nodes), k) == len(nodes):
        return hyper_hypercube(nodes, k)
    blocks = list(_blocks(nodes, k))
    first = [hyper_hypercube([node for part in parts for node in part], k) for parts in blocks]
    last = [_together([hyper_hypercube(part, k) for part in parts]) for parts in blocks]
    rounds = [[link for cube in first for link in _cyclic(cube, t)] for t in range(len(first[0]))]
    for turn in range(len(blocks) - 1):
        rounds.append(_exchange(blocks[turn:]))
        for done in range(turn):
            rounds[-1] += _cyclic(last[done], turn - 1 - done)
    for t in range(len(last[0]) - (len(blocks) - 2)):
        at = len(blocks) - 1 + t
        # The last block has no turn of its own in (2): it is through together with the one before it.
        rounds.append(
            [link for b, cube in enumerate(last) for link in _cyclic(cube, at - 1 - min(b, len(blocks) - 2))]
        )
    return rounds


def hyper_hypercube(nodes: list[int], k: int) -> Rounds:
    """The rounds of the k-peer hyper-hypercube; the number of nodes has no prime factor above k+1."""
    rounds: Rounds = []
    stride = 1
    for size in _factors(len(nodes), k):
        rounds.append([])
        for lead in range(len(nodes)):
            if lead // stride % size == 0:
                group = [nodes[lead + stride * j] for j in range(size)]
                rounds[-1] += [(u, v, 1 / size) for a, u in enumerate(group) for v in group[a + 1 :]]
        stride *= size
    return rounds


def _blocks(nodes: list[int], k: int) -> Iterator[list[list[int]]]:
    """The blocks V_1, V_2, ..., each as its parts: the digits of the number of nodes to the base k+1."""
    power = 1
    while power * (k + 1) <= len(nodes):
        power *= k + 1
    start = 0
    while power:
        parts = (len(nodes) - start) // power
        if parts:
            yield [nodes[start + a * power : start + (a + 1) * power] for a in range(parts)]
            start += parts * power
        power //= k + 1


def _exchange(blocks: list[list[list[int]]]) -> list[Link]:
    """The first of these blocks meets all others: each of those averages with one client of each of its parts."""
    parts, *others = blocks
    later = [node for block in others for part in block for node in part]
    size = sum(len(part) for part in parts)
    weight = size / (size + len(later)) / len(parts)
    return [(node, part[-1 - place], weight) for place, node in enumerate(later) for part in parts]


def _together(sequences: list[Rounds]) -> Rounds:
    """Rounds of equal numbers that go on at the same time."""
    return [[link for links in at_once for link in links] for at_once in zip(*sequences, strict=True)]


def _cyclic(rounds: Rounds, t: int) -> list[Link]:
    return rounds[t % len(rounds)] if rounds else []


def _factors(n: int, k: int) -> list[int]:
    """A factorisation of n into numbers of at most k+1, large ones taken first, in ascending order."""
    found = []
    for size in range(k + 1, 1, -1):
        while n % size == 0:
            found.append(size)
            n //= size
    return found[::-1]


def _smooth_part(n: int, k: int) -> int:
    """The largest divisor of n without prime factors above k+1."""
    part = 1
    for size in range(2, k + 2):
        while n % size == 0:
            part, n = part * size, n // size
    return part
