"""Mixing rules: weights that are known, promises, and what they refuse."""

from __future__ import annotations

import sys

import networkx as nx
import numpy as np
import pytest
from topology_cases import dense, of_graph, rho

from fedsparse import registry
from fedsparse.errors import ConfigError
from fedsparse.graphs import Matrices, Mixing
from fedsparse.mixing.fdla import FDLA
from fedsparse.mixing.laplacian import Laplacian
from fedsparse.mixing.lazy import Lazy
from fedsparse.mixing.max_degree import MaxDegree
from fedsparse.mixing.metropolis import Metropolis
from fedsparse.mixing.push_sum import PushSum
from fedsparse.mixing.uniform import Uniform
from fedsparse.topologies.base_graph import BaseGraph
from fedsparse.topologies.exponential import Exponential
from fedsparse.topologies.grid import Grid
from fedsparse.topologies.hub import Hub
from fedsparse.topologies.path import Path
from fedsparse.topologies.ring import Ring
from fedsparse.topologies.torus import Torus

ARCS = nx.DiGraph([(0, 1), (0, 2), (1, 2), (2, 0)])
"""0 sends to 1 and 2, 1 to 2, 2 to 0."""


def test_metropolis_weights_of_a_path_are_thirds() -> None:
    assert dense(Path(), 4) * 3 == pytest.approx(
        np.array([[2, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 2]])
    )


def test_metropolis_weights_are_those_of_the_larger_degree() -> None:
    assert dense(Hub(), 5)[0] == pytest.approx(np.full(5, 1 / 5))
    assert dense(Hub(), 5)[1] == pytest.approx([1 / 5, 4 / 5, 0, 0, 0])


@pytest.mark.parametrize("n", [4, 6, 10])
def test_even_rings_have_no_eigenvalue_of_minus_one(n: int) -> None:
    assert np.linalg.eigvalsh(dense(Ring(), n))[0] > -0.5


def test_maximum_degree_weights_are_equal_on_all_links() -> None:
    W = dense(Hub(), 5, mixing=MaxDegree())
    assert W[1] == pytest.approx([1 / 5, 4 / 5, 0, 0, 0])
    W = dense(Grid(), 9, mixing=MaxDegree())
    assert set(W[~np.eye(9, dtype=bool)].round(12)) == {0, 0.2}


def test_the_best_constant_of_a_hub_leaves_it_a_negative_weight() -> None:
    # λ_2 = 1 and λ_n = 16 for 16 clients, so α = 2/17, and the hub keeps 1 - 15 * 2/17.
    W = dense(Hub(), 16, mixing=Laplacian())
    assert W[0, 1] == pytest.approx(2 / 17)
    assert W[0, 0] == pytest.approx(1 - 30 / 17)


def test_lazy_weights_have_no_negative_eigenvalue() -> None:
    for of in (Metropolis(), MaxDegree(), Laplacian()):
        W = dense(Torus(), 16, mixing=of)
        assert dense(Torus(), 16, mixing=Lazy(of=of)) == pytest.approx((np.eye(16) + W) / 2)
        assert np.linalg.eigvalsh(dense(Torus(), 16, mixing=Lazy(of=of)))[0] > -1e-12
    assert np.linalg.eigvalsh(dense(Torus(), 16))[0] < -0.5


def test_uniform_weights_are_shares_of_what_is_heard() -> None:
    # Row = receiver: 2 hears 0 and 1.
    assert of_graph(ARCS, Uniform()) * 6 == pytest.approx(np.array([[3, 0, 3], [3, 3, 0], [2, 2, 2]]))


def test_push_sum_weights_are_shares_of_what_is_sent() -> None:
    # Column = sender: 0 sends to 1 and 2.
    assert of_graph(ARCS, PushSum()) * 6 == pytest.approx(np.array([[2, 0, 3], [2, 3, 0], [2, 3, 3]]))


@pytest.mark.parametrize("rule", [Metropolis(), MaxDegree(), Laplacian(), Lazy(), FDLA()])
def test_rules_for_two_way_links_refuse_others_and_name_the_clients(rule: Mixing) -> None:
    with pytest.raises(ConfigError) as caught:
        Matrices(Exponential(), 8, rule).at(0)
    assert "client 6 sends to 0 and hears nothing from it" in str(caught.value)
    assert (
        f"mixing={rule.name} needs links that go both ways; choose mixing=push_sum or mixing=uniform"
        in str(caught.value)
    )


def test_a_rule_that_is_chosen_takes_the_place_of_a_graphs_own_weights() -> None:
    assert dense(BaseGraph(), 5, 2)[3, 4] == pytest.approx(0.8)
    assert dense(BaseGraph(), 5, 2, Metropolis())[3, 4] == pytest.approx(0.5)


def test_lazy_refuses_rules_that_are_not_doubly_stochastic() -> None:
    with pytest.raises(ConfigError, match="uniform: is only row stochastic"):
        Lazy(of=Uniform())


def test_every_rule_is_tested_here() -> None:
    assert registry.mixings.names() == sorted(
        rule.name for rule in (FDLA(), Laplacian(), Lazy(), MaxDegree(), Metropolis(), PushSum(), Uniform())
    )


FASTEST = {  # ρ with FDLA weights, n = 16; random graphs of networkx 3.6.1 with seed 0
    "ring": (nx.cycle_graph(16), 0.926670), "path": (nx.path_graph(16), 0.980785), "hub": (nx.star_graph(15), 0.882353),
    "grid": (nx.grid_2d_graph(4, 4), 0.824389), "torus": (nx.grid_2d_graph(4, 4, periodic=True), 0.6),
    "Barabasi-Albert": (nx.barabasi_albert_graph(16, 2, seed=0), 0.762345),
    "Erdos-Renyi": (nx.gnp_random_graph(16, np.log(16) / 8, seed=0), 0.685617),
    "Watts-Strogatz": (nx.connected_watts_strogatz_graph(16, 4, 0.3, seed=0), 0.714203),
}  # fmt: skip


@pytest.mark.parametrize("name", FASTEST)
def test_fdla_mixes_as_fast_as_the_semidefinite_programme_says(name: str) -> None:
    pytest.importorskip("cvxpy", reason="needs the extra fdla")
    graph, expected = FASTEST[name]
    W = of_graph(nx.convert_node_labels_to_integers(graph, ordering="sorted"), FDLA())
    assert rho(W) == pytest.approx(expected, abs=2e-6)
    assert np.array_equal(W, W.T)


def test_without_a_solver_fdla_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(ConfigError, match=r"needs cvxpy.*pip install 'fedsparse\[fdla\]'.*mixing=laplacian"):
        dense(Ring(), 8, mixing=FDLA())


def test_fdla_refuses_programmes_that_would_take_too_long() -> None:
    pytest.importorskip("cvxpy", reason="needs the extra fdla")
    with pytest.raises(ConfigError, match=r"201 clients are more than mixing.most=200"):
        dense(Ring(), 201, mixing=FDLA())
