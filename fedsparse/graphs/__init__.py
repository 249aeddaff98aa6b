"""Gossip graphs and their mixing matrices: what a topology and a mixing rule are, and what follows from both.

::

    topology.graph(clients, seed, t)      who sends to whom in exchange t, with or without weights
    mixing.weights(links)                 weights W for links without any
    Matrices(topology, clients, mixing)   W of every exchange of a run, checked

``W[i, j]`` is the weight that client i gives to what it hears from client j: an exchange is ``X <- W X``.
"""

from fedsparse.graphs.base import Topology
from fedsparse.graphs.checks import require
from fedsparse.graphs.connected import connected, is_connected
from fedsparse.graphs.links import Links, links_of
from fedsparse.graphs.matrices import Matrices
from fedsparse.graphs.rule import Mixing, Stochastic, with_diagonal
from fedsparse.graphs.seeds import derived

__all__ = [
    "Links",
    "Matrices",
    "Mixing",
    "Stochastic",
    "Topology",
    "connected",
    "derived",
    "is_connected",
    "links_of",
    "require",
    "with_diagonal",
]
