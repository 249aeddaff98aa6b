"""Your own graph, from a Python function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import networkx as nx

from fedsparse.graphs import Topology
from fedsparse.options import option
from fedsparse.registry import by_path


@dataclass(frozen=True)
class Function(Topology):
    """A graph that a function makes, ``function(clients, seed) -> networkx.Graph`` or ``DiGraph``.

    Nodes, directions and weights are as in every topology. For options, or for a graph that changes, write a
    class instead and choose it as ``topology=package.module:Class``.
    """

    function: str = option("", "package.module:function or path/to/file.py:function; must be given")

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        if ":" not in self.function:
            self.refuse(
                f"needs topology.function, as package.module:function or path/to/file.py:function, not "
                f"'{self.function}'"
            )
        return by_path("topology.function", self.function, self._called(clients, seed))

    def _called(self, clients: int, seed: int) -> Any:
        def take(found: object, path: str) -> nx.Graph:
            if not callable(found):
                self.refuse(
                    f"function={path}: is a {type(found).__name__}; a function (clients, seed) is needed"
                )
            return found(clients, seed)

        return take
