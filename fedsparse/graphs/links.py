"""From a graph to a sparse matrix, once it is known to be one of clients."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
from scipy.sparse import csr_array

from fedsparse.errors import ConfigError

__all__ = ["Links", "links_of"]


@dataclass(frozen=True)
class Links:
    """Who hears whom in one exchange.

    Attributes:
        matrix: ``[n, n]``, row = receiver, column = sender, nothing on the diagonal; ones, or weights.
        weighted: whether the entries are mixing weights.
        name: of the graph, for messages.
    """

    matrix: csr_array
    weighted: bool
    name: str

    @property
    def ones(self) -> csr_array:
        """The same links without weights."""
        same = self.matrix.copy()
        same.data = np.ones_like(same.data)
        return same

    @property
    def one_way(self) -> tuple[int, int] | None:
        """A sender and a receiver that does not answer; ``None`` in an undirected graph."""
        lonely = (self.ones - self.ones.T).tocoo()
        found = np.flatnonzero(lonely.data > 0)
        return (int(lonely.col[found[0]]), int(lonely.row[found[0]])) if len(found) else None


def links_of(graph: Any, clients: int, name: str) -> Links:
    """The links of a graph.

    Args:
        graph: of networkx, with the nodes 0 .. clients-1.
        clients: how many nodes it must have.
        name: starts messages.

    Raises:
        ConfigError: nodes are missing or foreign, a node is its own neighbour, or weights are missing or not positive.
    """
    if not isinstance(graph, nx.Graph) or graph.is_multigraph():
        kind = type(graph).__name__
        raise ConfigError(
            f"{name}: is a {kind}; a networkx Graph or DiGraph, without parallel edges, is needed"
        )
    _check_nodes(graph, clients, name)
    loop = next(nx.selfloop_edges(graph), None)
    if loop is not None:
        raise ConfigError(
            f"{name}: client {loop[0]} is its own neighbour; leave self loops out, what a client keeps of its own is "
            "what its weights leave to one"
        )
    weighted = _check_weights(graph, name)
    sent = nx.to_scipy_sparse_array(
        graph, nodelist=range(clients), dtype=np.float64, weight="weight" if weighted else None
    )
    matrix = csr_array(sent.T)
    matrix.sort_indices()
    return Links(matrix, weighted, name)


def _check_nodes(graph: nx.Graph, clients: int, name: str) -> None:
    expected = range(clients)
    missing = [client for client in expected if client not in graph]
    foreign = [node for node in graph if not isinstance(node, int | np.integer) or node not in expected]
    if missing or foreign:
        parts = [f"{_some(missing)} missing"] if missing else []
        parts += [f"{_some(foreign)} foreign"] if foreign else []
        raise ConfigError(
            f"{name}: the nodes must be the clients 0 to {clients - 1}, numbered without holes; {', '.join(parts)} "
            f"(the graph has {len(graph)} nodes for {clients} clients)"
        )


def _some(nodes: Collection[Any]) -> str:
    shown = ", ".join(repr(node) for node in list(nodes)[:3])
    more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
    return f"{shown}{more} {'is' if len(nodes) == 1 else 'are'}"


def _check_weights(graph: nx.Graph, name: str) -> bool:
    """Whether the edges have weights; all of them, then, and proper ones."""
    bare = None
    weighted = False
    for u, v, weight in graph.edges(data="weight"):
        if weight is None:
            bare = (u, v)
            continue
        weighted = True
        if isinstance(weight, str) or not (math.isfinite(weight) and weight > 0):
            raise ConfigError(f"{name}: the weight of {u} - {v} is {weight}; it must be a number above 0")
    if weighted and bare:
        raise ConfigError(
            f"{name}: {bare[0]} - {bare[1]} has no weight, others have one; give all of them, or none"
        )
    return weighted
