"""What a topology is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

import networkx as nx

from fedsparse import registry
from fedsparse.errors import ConfigError, ProtocolError
from fedsparse.options import validate

__all__ = ["Topology"]


@dataclass(frozen=True)
class Topology:
    """Base of all families of graphs.

    A subclass is a frozen dataclass; its fields are its options. It is a pure function of the number of clients, the
    seed and the number t of the exchange, and draws from :mod:`fedsparse.rng` alone.

    Attributes:
        server: whether the graph has a node ``"server"``, which is no client; such a graph has no gossip.
        rule: the mixing rule of graphs without weights, unless one is chosen.
    """

    server: ClassVar[bool] = False
    rule: ClassVar[str] = "metropolis"

    def __post_init__(self) -> None:
        validate(self, "topology.")

    @property
    def name(self) -> str:
        """The name it is chosen by: its file, or ``module:Class`` outside of this package."""
        return registry.topologies.name_of(type(self))

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """Who sends to whom in exchange t.

        Nodes are 0 .. clients-1; an arc u -> v of a directed graph says that u sends to v. Without weights a
        mixing rule makes them. An edge attribute ``weight`` is what the receiver gives to the sender's value, and
        what is left to one is what it keeps of its own; then all edges have one.

        Args:
            clients: how many.
            seed: the run's seed.
            t: the exchange, from 0.

        Raises:
            ConfigError: there is no such graph for so many clients.
        """
        raise ProtocolError(f"{type(self).__name__} has no graph; a topology needs graph(clients, seed, t)")

    def period(self, clients: int) -> int | None:
        """After how many exchanges the graphs repeat; 1: it never changes; ``None``: they never repeat."""
        return 1

    def reach(self, clients: int, seed: int = 0) -> nx.Graph | None:
        """All links that may ever occur, where there is no period; ``None``: any client may meet any other."""
        return None

    def refuse(self, text: str) -> NoReturn:
        """Raises a ``ConfigError`` that starts with this topology's name."""
        raise ConfigError(f"topology={self.name}: {text}")
