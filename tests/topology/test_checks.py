"""``require`` finds what is missing, and names the property and the client."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import pytest

from fedsparse.errors import ConfigError
from fedsparse.graphs import Matrices, Mixing, Topology, require
from fedsparse.mixing.laplacian import Laplacian
from fedsparse.mixing.push_sum import PushSum
from fedsparse.mixing.uniform import Uniform
from fedsparse.topologies.equidyn import EquiDyn
from fedsparse.topologies.exponential import Exponential
from fedsparse.topologies.hub import Hub
from fedsparse.topologies.matching import Matching
from fedsparse.topologies.one_peer_exponential import OnePeerExponential
from fedsparse.topologies.ring import Ring
from fedsparse.topologies.sequence import Sequence


@dataclass(frozen=True)
class Given(Topology):
    """The links of a list."""

    links: tuple[tuple[int, int], ...] = field(default=())

    def graph(self, clients: int, seed: int = 0, t: int = 0) -> nx.Graph:
        graph = nx.Graph(self.links)
        graph.add_nodes_from(range(clients))
        return graph


PAIRS = Given(links=((0, 1), (2, 3)))
ACROSS = Given(links=((1, 2),))

REFUSED: list[tuple[Topology, Mixing | None, dict[str, Any], str]] = [
    (
        Hub(),
        Uniform(),
        {},
        "is not doubly stochastic: column 0 sums to 1.75, not 1 (not all that client 0 has to give",
    ),
    (
        Hub(),
        PushSum(),
        {"stochastic": "row"},
        "is not row stochastic: row 0 sums to 1.75, not 1 (client 0 mixes",
    ),
    (Hub(), Uniform(), {"stochastic": "column"}, "choose mixing=push_sum"),
    (Exponential(), None, {"symmetric": True}, "is not symmetric: client 0 gives 1 the weight"),
    (OnePeerExponential(), None, {"static": True}, "changes from exchange to exchange"),
    (OnePeerExponential(), None, {"symmetric": True}, "W of exchange 0 is not symmetric"),
    (Hub(), Laplacian(), {"nonnegative": True}, "that client 0 gives to 0; choose mixing=metropolis"),
    (PAIRS, None, {}, "is not connected: nothing gets from client 0 to client 2 and back"),
    (Sequence(of=(PAIRS, PAIRS)), None, {}, "is not connected over a whole period"),
    (Matching(of=PAIRS), None, {}, "is not connected in any exchange"),
]


@pytest.mark.parametrize(("topology", "mixing", "needed", "said"), REFUSED, ids=str)
def test_what_is_missing_is_named(
    topology: Topology, mixing: Mixing | None, needed: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        require(Matrices(topology, 4, mixing), **needed)
    assert said in str(caught.value)


def test_graphs_that_are_connected_together_are_connected_over_a_period() -> None:
    require(Matrices(Sequence(of=(PAIRS, ACROSS)), 4), symmetric=True)


def test_offsets_with_a_common_divisor_connect_nobody() -> None:
    # One offset from 1 .. 5 drawn for 6 clients: connected where it is 1 or 5, in 2 of 5 cases.
    outcomes = set()
    for seed in range(20):
        try:
            require(Matrices(EquiDyn(degree=1, directed=True), 6, None, seed))
            outcomes.add("connected")
        except ConfigError as error:
            outcomes.add("refused" if "is not connected in any exchange" in str(error) else str(error))
    assert outcomes == {"connected", "refused"}


def test_doubly_stochastic_weights_serve_everybody() -> None:
    for needed in ("doubly", "row", "column"):
        require(Matrices(Ring(), 8), needed, symmetric=True, static=True, nonnegative=True)
