"""Twenty thousand clients: sparse, and the right numbers."""

from __future__ import annotations

from math import cos, log2, pi, sqrt

import numpy as np
import pytest
from topology_cases import dense, rho

from fedsparse.errors import ResourceError
from fedsparse.graphs import Matrices, spectrum
from fedsparse.graphs.rates import contraction
from fedsparse.mixing.laplacian import Laplacian
from fedsparse.topologies.base_graph import BaseGraph
from fedsparse.topologies.exponential import Exponential
from fedsparse.topologies.one_peer_exponential import OnePeerExponential
from fedsparse.topologies.path import Path
from fedsparse.topologies.random_regular import RandomRegular
from fedsparse.topologies.ring import Ring
from fedsparse.topologies.torus import Torus
from fedsparse.topologies.tree import Tree

N = 20_000


@pytest.mark.slow
def test_the_gap_of_a_large_ring_is_the_closed_form() -> None:
    # 1 - ρ = 2 (1 - cos(2π/n)) / 3 is 3e-8: no digit of it may be lost in 1 - ρ.
    gap = 1 - contraction(Matrices(Ring(), N))
    assert gap == pytest.approx(2 * (1 - cos(2 * pi / N)) / 3, rel=1e-6)


def test_the_gap_of_a_large_path_with_the_best_constant_is_the_closed_form() -> None:
    # λ_2 = 2 - 2 cos(π/n) and λ_n = 2 + 2 cos(π/n), hence ρ = cos(π/n).
    gap = 1 - contraction(Matrices(Path(), N, Laplacian()))
    assert gap == pytest.approx(1 - cos(pi / N), rel=1e-6)


def test_a_large_torus_has_the_gap_of_its_longer_side() -> None:
    # 20 000 = 125 * 160; the smallest eigenvalue of the Laplacian belongs to the side of 160.
    assert 1 - contraction(Matrices(Torus(), N)) == pytest.approx(2 * (1 - cos(2 * pi / 160)) / 5, rel=1e-6)


def test_a_large_random_regular_graph_mixes_nearly_as_well_as_any_can() -> None:
    # No infinite family has a second eigenvalue below 2 sqrt(k-1) (Alon, Boppana), and random ones are close to it.
    ramanujan = (1 + 2 * sqrt(3)) / 5
    assert contraction(Matrices(RandomRegular(), N)) == pytest.approx(ramanujan, abs=0.005)


@pytest.mark.slow
def test_large_directed_and_changing_graphs_have_the_contraction_of_theory() -> None:
    assert contraction(Matrices(Exponential(), N)) == pytest.approx(14 / 16, abs=1e-6)
    assert contraction(Matrices(OnePeerExponential(), 2**14)) == 0
    assert contraction(Matrices(BaseGraph(degree=2), 3**9)) == 0
    assert log2(2**14) == Matrices(OnePeerExponential(), 2**14).period


@pytest.mark.parametrize("topology", [Ring(), Tree(), Torus(), RandomRegular()])
def test_sparse_and_dense_computations_agree(topology, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rho(dense(topology, 256))
    monkeypatch.setattr(spectrum, "DENSE", 10)
    assert 1 - contraction(Matrices(topology, 256)) == pytest.approx(1 - expected, rel=1e-6)


def test_graphs_that_would_need_too_much_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum, "DENSE", 10)
    monkeypatch.setattr(spectrum, "_RESTARTS", 1)
    monkeypatch.setattr(spectrum, "_BYTES", 1e5)
    with pytest.raises(ResourceError, match="the spectral gap of this graph of 900 clients cannot be found"):
        contraction(Matrices(Torus(), 900))


def test_matrices_of_large_graphs_are_sparse() -> None:
    W = Matrices(Ring(), N).at(0)
    assert W.nnz == 3 * N
    assert np.array_equal(np.diff(W.indptr), np.full(N, 3))
