"""ρ of every family and rule: a table computed with an independent NumPy transcription, and the closed forms."""

from __future__ import annotations

from math import ceil, cos, log, log2, pi

import networkx as nx
import numpy as np
import pytest
from topology_cases import dense, of_graph, rho

from fedsparse.graphs import Matrices, Topology
from fedsparse.graphs.rates import contraction
from fedsparse.mixing.laplacian import Laplacian
from fedsparse.mixing.max_degree import MaxDegree
from fedsparse.mixing.metropolis import Metropolis
from fedsparse.topologies.complete import Complete
from fedsparse.topologies.exponential import Exponential
from fedsparse.topologies.grid import Grid
from fedsparse.topologies.hub import Hub
from fedsparse.topologies.hypercube import Hypercube
from fedsparse.topologies.path import Path
from fedsparse.topologies.ring import Ring
from fedsparse.topologies.torus import Torus

RULES = (Metropolis(), MaxDegree(), Laplacian())

FIXED = {  # by topology and n: ρ with Metropolis, maximum-degree and best constant weights
    (Ring(), 16): (0.949253, 0.949253, 0.926670),
    (Ring(), 64): (0.996790, 0.996790, 0.995196),
    (Ring(), 100): (0.998684, 0.998684, 0.998029),
    (Path(), 16): (0.987190, 0.987190, 0.980785),
    (Path(), 64): (0.999197, 0.999197, 0.998795),
    (Path(), 100): (0.999671, 0.999671, 0.999507),
    (Grid(), 16): (0.868641, 0.882843, 0.841983),
    (Grid(), 64): (0.967705, 0.969552, 0.961201),
    (Grid(), 100): (0.979470, 0.980423, 0.975225),
    (Torus(), 16): (0.600000, 0.600000, 0.600000),
    (Torus(), 64): (0.882843, 0.882843, 0.863545),
    (Torus(), 100): (0.923607, 0.923607, 0.908860),
    (Hub(), 16): (0.937500, 0.937500, 0.882353),
    (Hub(), 64): (0.984375, 0.984375, 0.969231),
    (Hub(), 100): (0.990000, 0.990000, 0.980198),
    (Hypercube(), 16): (0.600000, 0.600000, 0.600000),
    (Hypercube(), 64): (0.714286, 0.714286, 0.714286),
    (Complete(), 16): (0, 0, 0),
    (Complete(), 64): (0, 0, 0),
    (Complete(), 100): (0, 0, 0),
}

DRAWN = {  # networkx 3.6.1, seed 0 or the next one that gives a connected graph
    ("4-regular", 16): (0.775677, 0.775677, 0.719657),
    ("4-regular", 64): (0.897092, 0.897092, 0.869633),
    ("4-regular", 100): (0.868608, 0.868608, 0.837816),
    ("8-regular", 16): (0.441421, 0.441421, 0.392973),
    ("8-regular", 64): (0.607668, 0.607668, 0.566270),
    ("8-regular", 100): (0.677226, 0.677226, 0.636039),
    ("Erdos-Renyi", 16): (0.811772, 0.857348, 0.774982),
    ("Erdos-Renyi", 64): (0.845559, 0.911081, 0.845497),
    ("Erdos-Renyi", 100): (0.769825, 0.873932, 0.785935),
    ("Watts-Strogatz", 16): (0.850150, 0.871111, 0.794515),
    ("Watts-Strogatz", 64): (0.946339, 0.959022, 0.928519),
    ("Watts-Strogatz", 100): (0.946764, 0.955125, 0.927496),
    ("Barabasi-Albert", 16): (0.904231, 0.922230, 0.857815),
    ("Barabasi-Albert", 64): (0.946915, 0.974064, 0.950015),
    ("Barabasi-Albert", 100): (0.953400, 0.978931, 0.959020),
}


@pytest.mark.parametrize(("topology", "n"), FIXED)
def test_fixed_graphs_mix_as_fast_as_the_table_says(topology: Topology, n: int) -> None:
    found = [rho(dense(topology, n, mixing=rule)) for rule in RULES]
    assert found == pytest.approx(FIXED[topology, n], abs=6e-7)


@pytest.mark.parametrize(("family", "n"), DRAWN)
def test_random_graphs_mix_as_fast_as_the_table_says(family: str, n: int) -> None:
    found = [rho(of_graph(drawn(family, n), rule)) for rule in RULES]
    assert found == pytest.approx(DRAWN[family, n], abs=6e-7)


def drawn(family: str, n: int) -> nx.Graph:
    makers = {
        "4-regular": lambda seed: nx.random_regular_graph(4, n, seed=seed),
        "8-regular": lambda seed: nx.random_regular_graph(8, n, seed=seed),
        "Erdos-Renyi": lambda seed: nx.gnp_random_graph(n, 2 * log(n) / n, seed=seed),
        "Watts-Strogatz": lambda seed: nx.connected_watts_strogatz_graph(n, 4, 0.3, tries=100, seed=seed),
        "Barabasi-Albert": lambda seed: nx.barabasi_albert_graph(n, 2, seed=seed),
    }
    return next(graph for seed in range(100) if nx.is_connected(graph := makers[family](seed)))


@pytest.mark.parametrize(("n", "expected"), [(16, 0.6), (64, 0.714286), (100, 0.75)])
def test_the_exponential_graph_mixes_as_fast_as_the_table_says(n: int, expected: float) -> None:
    assert rho(dense(Exponential(), n)) == pytest.approx(expected, abs=6e-7)


@pytest.mark.parametrize("n", [4, 5, 16, 31, 100])
def test_closed_forms_of_rings_paths_and_hubs(n: int) -> None:
    assert rho(dense(Ring(), n)) == pytest.approx((1 + 2 * cos(2 * pi / n)) / 3, abs=1e-12)
    assert rho(dense(Path(), n)) == pytest.approx((1 + 2 * cos(pi / n)) / 3, abs=1e-12)
    assert rho(dense(Hub(), n)) == pytest.approx(1 - 1 / n, abs=1e-12)


@pytest.mark.parametrize("m", [4, 6, 8, 12])
def test_closed_form_of_a_torus(m: int) -> None:
    # Eigenvalues (1 + 2 cos a + 2 cos b) / 5 with a, b multiples of 2π/m.
    assert rho(dense(Torus(), m * m)) == pytest.approx(max((3 + 2 * cos(2 * pi / m)) / 5, 3 / 5), abs=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3, 5, 7])
def test_closed_form_of_a_hypercube(dimensions: int) -> None:
    expected = (dimensions - 1) / (dimensions + 1)
    assert rho(dense(Hypercube(), 2**dimensions)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [4, 10, 16, 64, 100, 126])
def test_closed_form_of_an_exponential_graph(n: int) -> None:
    tau = ceil(log2(n))
    assert rho(dense(Exponential(), n)) == pytest.approx((tau - 1) / (tau + 1), abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("topology", [Ring(), Grid(), Hub(), Exponential()])
def test_the_contraction_that_is_reported_is_the_norm(topology: Topology, rule: Metropolis) -> None:
    chosen = None if isinstance(topology, Exponential) else rule
    expected = rho(dense(topology, 64, mixing=chosen))
    assert contraction(Matrices(topology, 64, chosen)) == pytest.approx(expected, abs=1e-12)


def test_the_best_constant_is_a_minimum() -> None:
    best = rho(dense(Grid(), 16, mixing=Laplacian()))
    L = nx.laplacian_matrix(nx.grid_2d_graph(4, 4)).toarray()
    values = np.linalg.eigvalsh(L)
    assert best == pytest.approx((values[-1] - values[1]) / (values[-1] + values[1]), abs=1e-12)
    alpha = 2 / (values[1] + values[-1])
    assert all(rho(dense(Grid(), 16, mixing=Laplacian(alpha=f * alpha))) > best for f in (0.98, 1.02))
