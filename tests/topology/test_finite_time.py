"""One-peer exponential and Base-(k+1) graphs: exact agreement after finitely many exchanges."""

from __future__ import annotations

from functools import reduce
from math import log

import numpy as np
import pytest
from numpy.typing import NDArray
from topology_cases import rho

from fedsparse.graphs import Matrices, Topology
from fedsparse.graphs.rates import contraction, period_contraction
from fedsparse.topologies.base_graph import BaseGraph, base, hyper_hypercube, simple_base
from fedsparse.topologies.one_peer_exponential import OnePeerExponential


def product(topology: Topology, n: int) -> NDArray[np.float64]:
    """The product of the matrices of a period."""
    matrices = Matrices(topology, n)
    return reduce(lambda done, t: matrices.at(t) @ done, range(matrices.period or 1), np.eye(n))


@pytest.mark.parametrize("n", [2, 4, 16, 64, 256])
def test_one_peer_exponential_graphs_of_powers_of_two_agree_exactly(n: int) -> None:
    assert np.array_equal(product(OnePeerExponential(), n), np.full((n, n), 1 / n))


def test_other_one_peer_exponential_graphs_do_not_agree_exactly() -> None:
    found = product(OnePeerExponential(), 100)
    assert rho(found) == pytest.approx(0.1916, abs=5e-5)
    assert contraction(Matrices(OnePeerExponential(), 100)) == pytest.approx(0.7898, abs=5e-5)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_base_graphs_agree_exactly_for_every_number_of_clients(k: int) -> None:
    for n in range(2, 130):
        assert np.abs(product(BaseGraph(degree=k), n) - 1 / n).max() < 2e-16, n


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_base_graphs_are_sparse_short_symmetric_and_nonnegative(k: int) -> None:
    for n in range(2, 130):
        matrices = Matrices(BaseGraph(degree=k), n)
        assert matrices.period <= 2 * log(n, k + 1) + 2, n
        for t in range(matrices.period):
            W = matrices.at(t).toarray()
            assert np.array_equal(W, W.T)
            assert W.min() > -1e-16
            assert ((W > 0).sum(1) - (W.diagonal() > 0)).max() <= k


@pytest.mark.parametrize(
    ("k", "n", "simple", "shorter"),
    [
        (1, 5, 5, 5), (1, 6, 5, 4), (1, 16, 4, 4), (1, 25, 9, 9), (1, 64, 6, 6), (1, 100, 13, 11),
        (2, 100, 9, 8), (3, 100, 7, 6), (4, 25, 2, 2), (4, 100, 3, 3),
    ],
)  # fmt: skip
def test_base_graphs_have_the_lengths_of_the_authors_program(
    k: int, n: int, simple: int, shorter: int
) -> None:
    assert (len(simple_base(list(range(n)), k)), len(base(n, k))) == (simple, shorter)


def test_the_base_2_graph_of_five_clients_is_the_papers() -> None:
    # 5 = 4 + 1: blocks {0 1 2 3} and {4}; client 4 meets one of the four with the weight 4/5.
    halves = [[(0, 1, 0.5), (2, 3, 0.5)], [(0, 2, 0.5), (1, 3, 0.5)]]
    found = [sorted((min(u, v), max(u, v), w) for u, v, w in links) for links in base(5, 1)]
    assert found == [*halves, [(3, 4, 0.8)], *halves]


def test_hyper_hypercubes_average_over_one_digit_after_the_other() -> None:
    # 6 = 2 * 3 with k = 2: pairs of neighbours, then groups of three with a stride of two.
    first, second = hyper_hypercube(list(range(6)), 2)
    assert [link[:2] for link in first] == [(0, 1), (2, 3), (4, 5)]
    assert [link[:2] for link in second] == [(0, 2), (0, 4), (2, 4), (1, 3), (1, 5), (3, 5)]
    assert {link[2] for link in second} == {1 / 3}


@pytest.mark.parametrize("n", [243, 3**6])
def test_powers_are_found_without_logarithms(n: int) -> None:
    # log(243, 3) is 4.999999999999999 in floating point.
    assert len(base(n, 2)) == round(log(n, 3))


def test_exact_agreement_is_reported_as_a_contraction_of_nothing() -> None:
    assert period_contraction(Matrices(BaseGraph(degree=2), 25)) == 0
    assert contraction(Matrices(OnePeerExponential(), 64)) == 0
