"""A rectangle: neighbours above, below, left and right."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import ClassVar

import networkx as nx

from fedsparse.graphs import Topology
from fedsparse.options import option


@dataclass(frozen=True)
class Grid(Topology):
    """A grid of ``rows`` times n / ``rows`` clients, numbered row by row."""

    periodic: ClassVar[bool] = False

    rows: int | None = option(None, "rows, a divisor of the clients; null: as square as can be", at_least=2)

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        """See :meth:`Topology.graph`."""
        rows = self._rows(clients)
        lattice = nx.grid_2d_graph(rows, clients // rows, periodic=self.periodic)
        return nx.convert_node_labels_to_integers(lattice, ordering="sorted")

    def _rows(self, clients: int) -> int:
        rows = self.rows or max((r for r in range(2, isqrt(clients) + 1) if clients % r == 0), default=0)
        if rows == 0:
            self.refuse(
                f"{clients} clients fill no rectangle of two rows or more; take {max(4, clients + 1)}, or "
                "another topology"
            )
        if clients % rows or clients // rows < 2:
            self.refuse(
                f"{clients} clients do not fill {rows} rows of two or more; choose topology.rows otherwise"
            )
        return rows
