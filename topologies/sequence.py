"""Several topologies, one after the other, again and again."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, lcm

import networkx as nx

from fedsparse.errors import ConfigError
from fedsparse.graphs import Topology, derived
from fedsparse.options import option
from fedsparse.topologies.path import Path
from fedsparse.topologies.ring import Ring


@dataclass(frozen=True)
class Sequence(Topology):
    """A graph that changes with time: each topology of ``of`` has its turn of ``every`` exchanges.

    A topology that changes by itself goes on in its next turn where it stopped. Random ones are drawn for their
    place in the list, so that the same name twice gives two graphs. Single graphs need not be connected, if
    together they are.
    """

    of: tuple[Topology, ...] = option((Ring(), Path()), "the topologies")
    every: int = option(1, "exchanges of a turn", at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.of:
            raise ConfigError(
                "topology.of=[]: must be a list of one topology or more, such as [ring,complete]"
            )
        served = [topology.name for topology in self.of if topology.server]
        if served:
            raise ConfigError(
                f"topology.of: {served[0]} has a server, and no exchanges among clients; leave it out"
            )

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        turn, within = divmod(t, self.every)
        cycle, place = divmod(turn, len(self.of))
        return self.of[place].graph(clients, _seed(seed, place), cycle * self.every + within)

    def period(self, clients: int) -> int | None:
        """Until all members are at their beginnings again."""
        cycles = 1
        for topology in self.of:
            own = topology.period(clients)
            if own is None:
                return None
            cycles = lcm(cycles, own // gcd(own, self.every))
        return cycles * len(self.of) * self.every

    def reach(self, clients: int, seed: int = 0) -> nx.Graph | None:
        """The links of all members."""
        found = []
        for place, topology in enumerate(self.of):
            own = topology.period(clients)
            if own is None:
                widest = topology.reach(clients, _seed(seed, place))
                if widest is None:
                    return None
                found.append(widest)
            else:
                found += [topology.graph(clients, _seed(seed, place), t) for t in range(own)]
        directed = any(graph.is_directed() for graph in found)
        return nx.compose_all([graph.to_directed() if directed else graph for graph in found])


def _seed(seed: int, place: int) -> int:
    return derived(seed, "sequence", place)
