"""Everyone sends to those 1, 2, 4, 8, ... places further."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import networkx as nx

from fedsparse.graphs import Topology


@dataclass(frozen=True)
class Exponential(Topology):
    """The static exponential graph (Assran et al., 2019; Ying et al., 2021, arXiv:2110.13363).

    Directed: i sends to i + 2^j mod n for j = 0 .. τ-1, τ = ceil(log2 n). Every weight is 1 / (τ+1), one's own
    included; for even n, ρ = (τ-1) / (τ+1).
    """

    rule: ClassVar[str] = "uniform"

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        hops = [1 << j for j in range((clients - 1).bit_length())]
        return nx.DiGraph((i, (i + hop) % clients) for i in range(clients) for hop in hops)
