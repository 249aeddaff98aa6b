"""What the tests of topologies share."""

from __future__ import annotations

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from fedsparse.graphs import Matrices, Mixing, Topology, links_of
from fedsparse.topologies.barabasi_albert import BarabasiAlbert
from fedsparse.topologies.base_graph import BaseGraph
from fedsparse.topologies.complete import Complete
from fedsparse.topologies.epidemic import Epidemic
from fedsparse.topologies.equidyn import EquiDyn
from fedsparse.topologies.equistatic import EquiStatic
from fedsparse.topologies.erdos_renyi import ErdosRenyi
from fedsparse.topologies.exponential import Exponential
from fedsparse.topologies.geometric import Geometric
from fedsparse.topologies.grid import Grid
from fedsparse.topologies.hub import Hub
from fedsparse.topologies.hypercube import Hypercube
from fedsparse.topologies.matching import Matching
from fedsparse.topologies.one_peer_exponential import OnePeerExponential
from fedsparse.topologies.path import Path
from fedsparse.topologies.pull import Pull
from fedsparse.topologies.random_regular import RandomRegular
from fedsparse.topologies.ring import Ring
from fedsparse.topologies.sequence import Sequence
from fedsparse.topologies.torus import Torus
from fedsparse.topologies.tree import Tree
from fedsparse.topologies.watts_strogatz import WattsStrogatz

STATIC: list[Topology] = [
    Ring(),
    Path(),
    Grid(),
    Torus(),
    Hub(),
    Complete(),
    Hypercube(),
    Tree(),
    Tree(branching=3),
]
"""Undirected, always the same, on 16 and 64 clients."""

RANDOM: list[Topology] = [
    RandomRegular(), RandomRegular(degree=3), ErdosRenyi(), WattsStrogatz(), BarabasiAlbert(), BarabasiAlbert(links=1),
    Geometric(), EquiStatic(), EquiStatic(directed=True),
]  # fmt: skip
"""Drawn once."""

CHANGING: list[Topology] = [
    OnePeerExponential(), BaseGraph(), BaseGraph(degree=3), EquiDyn(), EquiDyn(directed=True), EquiDyn(degree=3),
    Matching(), Matching(of=Ring()), Matching(of=Ring(), pairs=1), Epidemic(), Pull(), Pull(peers=2.5), Sequence(),
    Sequence(of=(Matching(of=Ring()), RandomRegular(), RandomRegular()), every=2),
]  # fmt: skip
"""Other graphs from exchange to exchange."""

EVERY: list[Topology] = [*STATIC, *RANDOM, Exponential(), *CHANGING]


def dense(
    topology: Topology, clients: int, t: int = 0, mixing: Mixing | None = None, seed: int = 0
) -> NDArray[np.float64]:
    """W of one exchange, ``[n, n]``."""
    return Matrices(topology, clients, mixing, seed).at(t).toarray()


def of_graph(graph: nx.Graph, mixing: Mixing) -> NDArray[np.float64]:
    """W of a graph of networkx, ``[n, n]``."""
    return mixing.weights(links_of(graph, len(graph), "graph").ones).toarray()


def rho(W: NDArray[np.float64]) -> float:
    """The norm of W - 11^T/n."""
    return float(np.linalg.norm(W - 1 / len(W), 2))
