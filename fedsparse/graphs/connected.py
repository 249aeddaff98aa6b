"""Connected random graphs, by drawing again."""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx

from fedsparse.graphs.base import Topology
from fedsparse.graphs.seeds import derived

__all__ = ["TRIES", "connected", "is_connected"]

TRIES = 100
"""Graphs that are drawn before a family gives up."""


def connected(topology: Topology, draw: Callable[[int], nx.Graph], seed: int, advice: str) -> nx.Graph:
    """The first connected graph of ``draw(seed of try 0)``, ``draw(seed of try 1)``, ...; at most :data:`TRIES`.

    Args:
        topology: names the random stream, and the error.
        draw: makes a graph from a seed.
        seed: the run's seed.
        advice: what makes connected graphs likelier.

    Returns:
        The graph; ``graph.graph["draws"]`` says how many were drawn.

    Raises:
        ConfigError: none of them is connected.
    """
    for number in range(TRIES):
        graph = draw(derived(seed, topology.name, number))
        if is_connected(graph):
            graph.graph["draws"] = number + 1
            return graph
    return topology.refuse(f"{TRIES} graphs were drawn (seed={seed}) and none is connected; {advice}")


def is_connected(graph: nx.Graph) -> bool:
    """Whether every node reaches every other one; along the arcs where they have a direction."""
    test = nx.is_strongly_connected if graph.is_directed() else nx.is_connected
    return bool(test(graph))
