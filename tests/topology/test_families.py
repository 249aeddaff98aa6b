"""What holds for every family: sums, symmetry, degrees, connectivity, seeds; for any number of clients."""

from __future__ import annotations

import random

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from topology_cases import CHANGING, EVERY, RANDOM, dense

from fedsparse import registry
from fedsparse.errors import ConfigError
from fedsparse.graphs import Matrices, Topology, is_connected, require
from fedsparse.mixing.lazy import Lazy
from fedsparse.mixing.max_degree import MaxDegree
from fedsparse.mixing.metropolis import Metropolis
from fedsparse.mixing.push_sum import PushSum
from fedsparse.mixing.uniform import Uniform
from fedsparse.topologies.barabasi_albert import BarabasiAlbert
from fedsparse.topologies.epidemic import Epidemic
from fedsparse.topologies.erdos_renyi import ErdosRenyi
from fedsparse.topologies.geometric import Geometric
from fedsparse.topologies.grid import Grid
from fedsparse.topologies.hypercube import Hypercube
from fedsparse.topologies.matching import Matching
from fedsparse.topologies.path import Path
from fedsparse.topologies.pull import Pull
from fedsparse.topologies.random_regular import RandomRegular
from fedsparse.topologies.ring import Ring
from fedsparse.topologies.sequence import Sequence
from fedsparse.topologies.star import Star
from fedsparse.topologies.torus import Torus
from fedsparse.topologies.tree import Tree
from fedsparse.topologies.watts_strogatz import WattsStrogatz

every = pytest.mark.parametrize("topology", EVERY, ids=str)


def test_every_family_is_among_the_cases() -> None:
    assert {topology.name for topology in EVERY} == set(registry.topologies.names()) - {
        "star",
        "file",
        "function",
    }


@every
@pytest.mark.parametrize("n", [16, 64])
def test_the_matrices_are_what_the_families_promise(topology: Topology, n: int) -> None:
    require(
        Matrices(topology, n), "row" if isinstance(topology, Epidemic | Pull) else "doubly", nonnegative=True
    )


@every
def test_the_nodes_are_the_clients(topology: Topology) -> None:
    assert all(set(topology.graph(16, 3, t)) == set(range(16)) for t in range(5))


@every
def test_the_same_seed_gives_the_same_matrices_whatever_else_is_drawn(topology: Topology) -> None:
    state = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002 - nobody may touch it
    first = [dense(topology, 16, t, seed=5) for t in (0, 1, 7)]
    again = [dense(topology, 16, t, seed=5) for t in (7, 1, 0)][::-1]
    assert np.array_equal(first, again)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state  # noqa: NPY002


@pytest.mark.parametrize("topology", RANDOM, ids=str)
def test_other_seeds_give_other_graphs(topology: Topology) -> None:
    found = [dense(topology, 64, seed=seed) for seed in range(3)]
    assert not np.array_equal(found[0], found[1])
    assert not np.array_equal(found[1], found[2])


@pytest.mark.parametrize("topology", CHANGING, ids=str)
def test_a_sequence_repeats_after_its_period_or_never(topology: Topology) -> None:
    matrices = Matrices(topology, 16)
    if matrices.period is None:
        assert any(not np.array_equal(dense(topology, 16, 0), dense(topology, 16, t)) for t in (1, 2))
    else:
        assert matrices.period > 1
        graphs = [topology.graph(16, 0, t) for t in (1, 1 + matrices.period)]
        assert nx.utils.graphs_equal(*graphs)


@given(n=st.integers(2, 80), seed=st.integers(0, 2**63 - 1), place=st.integers(0, len(EVERY) - 1))
@settings(max_examples=60)
def test_any_number_of_clients_gives_proper_weights_or_a_reason(n: int, seed: int, place: int) -> None:
    topology = EVERY[place]
    try:
        W = dense(topology, n, seed=seed)
    except ConfigError:
        return  # there is no such graph for so few, or so odd, a number; the reasons are tested below
    assert W.sum(1) == pytest.approx(np.ones(n), abs=1e-12)
    assert W.min() >= -1e-15
    if not isinstance(topology, Epidemic | Pull):
        assert W.sum(0) == pytest.approx(np.ones(n), abs=1e-12)


@given(n=st.integers(2, 40), p=st.floats(0.3, 1), seed=st.integers(0, 1000))
@settings(max_examples=40)
def test_rules_keep_their_promises_on_any_graph(n: int, p: float, seed: int) -> None:
    try:
        graph = Matrices(ErdosRenyi(p=p), n, None, seed)
        graph.at(0)
    except ConfigError:
        return  # too few links for so few clients
    for rule in (Metropolis(), MaxDegree(), Lazy()):
        matrices = Matrices(ErdosRenyi(p=p), n, rule, seed)
        require(matrices, "doubly", symmetric=True, nonnegative=True, static=True)
        assert (matrices.at(0).diagonal() > 0).all()
    require(Matrices(ErdosRenyi(p=p), n, Uniform(), seed), "row")
    require(Matrices(ErdosRenyi(p=p), n, PushSum(), seed), "column")


@given(n=st.integers(5, 60), degree=st.integers(2, 6), seed=st.integers(0, 1000))
@settings(max_examples=40)
def test_random_graphs_have_the_degrees_they_were_asked_for(n: int, degree: int, seed: int) -> None:
    if n * degree % 2 == 0 and 2 < degree < n:
        regular = RandomRegular(degree=degree).graph(n, seed)
        assert {d for _, d in regular.degree} == {degree}
        assert is_connected(regular)
    if degree % 2 == 0 and degree < n:
        small_world = WattsStrogatz(degree=degree, p=0.2).graph(n, seed)
        assert small_world.number_of_edges() == n * degree // 2
        assert is_connected(small_world)
    if degree < n:
        scale_free = BarabasiAlbert(links=degree).graph(n, seed)
        assert scale_free.number_of_edges() == degree * (n - degree)
        assert is_connected(scale_free)


def test_lattices_are_numbered_row_by_row() -> None:
    grid = Grid(rows=2).graph(6)
    assert sorted(map(sorted, grid.edges)) == [[0, 1], [0, 3], [1, 2], [1, 4], [2, 5], [3, 4], [4, 5]]
    assert {d for _, d in Torus().graph(12).degree} == {4}


def test_a_torus_with_a_side_of_two_has_no_double_links() -> None:
    assert {d for _, d in Torus(rows=2).graph(10).degree} == {3}


def test_clients_of_a_tree_are_linked_with_their_parents() -> None:
    tree = Tree(branching=3).graph(20)
    assert all(tree.has_edge(i, (i - 1) // 3) for i in range(1, 20))
    assert tree.number_of_edges() == 19


def test_neighbours_in_a_geometric_graph_are_those_within_reach() -> None:
    graph = Geometric(radius=0.4).graph(30, 2)
    places = np.array([graph.nodes[i]["pos"] for i in range(30)])
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    assert np.array_equal(
        nx.to_numpy_array(graph, nodelist=range(30)) > 0, (apart <= 0.4) & ~np.eye(30, dtype=bool)
    )


def test_disconnected_draws_are_drawn_again() -> None:
    tries = [ErdosRenyi(p=0.15).graph(20, seed).graph["draws"] for seed in range(20)]
    assert max(tries) > 1
    assert all(is_connected(ErdosRenyi(p=0.15).graph(20, seed)) for seed in range(20))


def test_a_sequence_gives_each_its_turn_and_other_draws_to_the_same_name() -> None:
    topology = Sequence(of=(Ring(), RandomRegular(), RandomRegular()), every=2)
    graphs = [topology.graph(16, 0, t) for t in range(7)]
    assert topology.period(16) == 6
    same = [nx.utils.graphs_equal(graphs[t], graphs[t + 1]) for t in range(6)]
    assert same == [True, False, True, False, True, False]
    assert nx.utils.graphs_equal(graphs[0], graphs[6])


def test_members_of_a_sequence_go_on_where_they_stopped() -> None:
    from fedsparse.topologies.one_peer_exponential import OnePeerExponential

    topology = Sequence(of=(OnePeerExponential(), Ring()), every=3)
    hops = [next(iter(topology.graph(16, 0, t)[0])) for t in (0, 1, 2, 6, 7, 8)]
    assert hops == [1, 2, 4, 8, 1, 2]
    # The period 4 of the first is through after four turns of three; each turn of it is followed by one of the ring.
    assert topology.period(16) == 24


def test_rounds_of_several_exchanges_go_through_the_sequence() -> None:
    from fedsparse.topologies.one_peer_exponential import OnePeerExponential

    matrices = Matrices(OnePeerExponential(), 8, steps=2)
    hops = [
        int(matrices.weights(r, s).toarray()[0].argsort()[-2:].max())
        for r, s in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    assert hops == [7, 6, 4, 7]


REFUSED = {
    (Hypercube(), 12): "topology=hypercube: needs a power of two of clients, not 12; take 8 or 16",
    (Grid(), 13): "topology=grid: 13 clients fill no rectangle of two rows or more; take 14",
    (Torus(rows=5), 12): "topology=torus: 12 clients do not fill 5 rows of two or more",
    (RandomRegular(degree=3), 7): "degree=3: clients times degree must be even, and 7 times 3 is not",
    (RandomRegular(degree=8), 8): "degree=8: 8 clients have at most 7 neighbours each",
    (WattsStrogatz(degree=3), 9): "degree=3: must be even and below the number of clients, 9",
    (BarabasiAlbert(links=9), 9): "links=9: must be below the number of clients, 9",
    (Epidemic(degree=9), 9): "degree=9: must be below the number of clients, 9",
    (ErdosRenyi(p=0.001), 30): "100 graphs were drawn (seed=0) and none is connected; raise topology.p=0.001",
    (Geometric(radius=0.01), 30): "none is connected; raise topology.radius=0.01",
    (Matching(of=Epidemic()), 8): "topology=matching: of=epidemic: must be a graph of clients that stays the same",
    (Ring(), 1): "topology=ring: gossip needs two clients or more, not 1",
    (Star(), 8): "topology=star: its clients talk to a server, and not to each other",
}  # fmt: skip


@pytest.mark.parametrize(("topology", "n"), REFUSED, ids=str)
def test_graphs_that_cannot_be_are_refused_with_the_way_out(topology: Topology, n: int) -> None:
    with pytest.raises(ConfigError) as caught:
        Matrices(topology, n).at(0)
    assert REFUSED[topology, n] in str(caught.value)


def test_the_server_is_no_member_of_a_sequence() -> None:
    with pytest.raises(ConfigError, match="star has a server"):
        Sequence(of=(Path(), Star()))
    with pytest.raises(ConfigError, match="a list of one topology or more"):
        Sequence(of=())


def test_the_stars_of_servers_and_of_gossip_differ_in_their_centre() -> None:
    from fedsparse.topologies.hub import Hub

    assert sorted(map(str, Star().graph(3))) == ["0", "1", "2", "server"]
    assert sorted(Hub().graph(4).edges) == [(0, 1), (0, 2), (0, 3)]
    assert Star.server
    assert not Hub.server
