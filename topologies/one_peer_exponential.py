"""One hop of the exponential graph after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import networkx as nx

from fedsparse.graphs import Topology


@dataclass(frozen=True)
class OnePeerExponential(Topology):
    """The one-peer exponential graph (Assran et al., 2019; Ying et al., 2021, arXiv:2110.13363).

    Directed, of period τ = ceil(log2 n): in exchange t client i sends to i + 2^(t mod τ) mod n, and everyone
    averages two values. Where n is a power of two, all agree exactly after τ exchanges; elsewhere they do not.
    """

    rule: ClassVar[str] = "uniform"

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        hop = 1 << t % self.period(clients)
        return nx.DiGraph((i, (i + hop) % clients) for i in range(clients))

    def period(self, clients: int) -> int:
        """τ."""
        return (clients - 1).bit_length()
