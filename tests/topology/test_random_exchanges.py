"""EquiTopo, matchings, epidemics and push-sum, against formulas and against an independent transcription's figures."""

from __future__ import annotations

from collections import Counter

import networkx as nx
import numpy as np
import pytest
from topology_cases import dense, of_graph, rho

from fedsparse.errors import ConfigError
from fedsparse.graphs import Matrices
from fedsparse.mixing.metropolis import Metropolis
from fedsparse.mixing.push_sum import PushSum
from fedsparse.mixing.uniform import Uniform
from fedsparse.topologies.epidemic import Epidemic
from fedsparse.topologies.equidyn import EquiDyn, matched
from fedsparse.topologies.equistatic import EquiStatic, circulant
from fedsparse.topologies.matching import Matching
from fedsparse.topologies.pull import Pull
from fedsparse.topologies.ring import Ring

MEAN_RHO = {  # by n and M: D-EquiStatic, U-EquiStatic; means over 20 draws
    (16, 4): (0.754, 0.630), (16, 8): (0.542, 0.417), (16, 16): (0.351, 0.290),
    (64, 4): (0.914, 0.806), (64, 8): (0.687, 0.566), (64, 16): (0.478, 0.397),
}  # fmt: skip


@pytest.mark.parametrize(("n", "degree"), MEAN_RHO)
def test_equistatic_graphs_mix_as_measured(n: int, degree: int) -> None:
    for directed, expected in zip((True, False), MEAN_RHO[n, degree], strict=True):
        topology = EquiStatic(degree=degree, directed=directed)
        found = np.mean([rho(dense(topology, n, seed=seed)) for seed in range(20)])
        # Disconnected draws (ρ = 1, likely at M = 4) are drawn again here; 0.06 is about two deviations of the means.
        assert found == pytest.approx(expected, abs=0.06)


def test_equistatic_weights_are_the_mean_of_basis_matrices() -> None:
    n, hops = 6, [1, 4, 4]
    expected = np.zeros((n, n))
    for a in hops:
        expected += np.eye(n) / n + (n - 1) / n * np.roll(np.eye(n), a, axis=1)
    found = _weights(circulant(n, hops, directed=True))
    assert found == pytest.approx(expected / 3, abs=1e-15)
    assert _weights(circulant(n, hops, directed=False)) == pytest.approx((found + found.T) / 2, abs=1e-15)


def test_opposite_offsets_of_an_undirected_graph_have_the_weight_of_both() -> None:
    # Offset n/2 meets each pair from both its ends: the symmetrised basis matrix has (n-1)/n there, not half of it.
    assert _weights(circulant(4, [2], directed=False))[0] == pytest.approx([1 / 4, 0, 3 / 4, 0])


def _weights(graph: nx.Graph) -> np.ndarray:
    others = nx.to_numpy_array(graph, nodelist=range(len(graph))).T
    return others + np.diag(1 - others.sum(1))


@pytest.mark.parametrize(("eta", "expected"), [(0.5, (0.469, 0.492, 0.495)), (1.0, (0.875, 0.969, 0.980))])
def test_od_equidyn_shrinks_the_squared_disagreement_as_expected(
    eta: float, expected: tuple[float, ...]
) -> None:
    for n, factor in zip((16, 64, 100), expected, strict=True):
        squares = [
            W.T @ W for a in range(1, n) for W in [_weights(circulant(n, [a], directed=True, share=eta))]
        ]
        mean = np.mean(squares, axis=0)
        assert np.linalg.eigvalsh(mean)[-2] == pytest.approx(factor, abs=6e-4)


def test_od_equidyn_draws_every_offset_alike() -> None:
    topology = EquiDyn(directed=True)
    drawn = Counter((u - v) % 7 for t in range(600) for u, v in list(topology.graph(7, 0, t).edges)[:1])
    # 600 draws of 6 offsets: 100 each, deviation 9.
    assert sorted(drawn) == [1, 2, 3, 4, 5, 6]
    assert min(drawn.values()) > 64
    assert max(drawn.values()) < 136


@pytest.mark.parametrize(("n", "factor"), [(16, 0.564), (64, 0.597)])
def test_ou_equidyn_shrinks_the_squared_disagreement_as_measured(n: int, factor: float) -> None:
    # The worst direction of a mean over 400 draws, which is a little above that of the expectation.
    W = Matrices(EquiDyn(), n)
    mean = np.mean([W.at(t).toarray().T @ W.at(t).toarray() for t in range(400)], axis=0)
    assert np.linalg.eigvalsh(mean)[-2] == pytest.approx(factor, abs=0.015)


@pytest.mark.parametrize(("n", "most"), [(16, 0.55), (64, 0.57)])
def test_ou_equidyn_shrinks_alike_for_any_number_of_clients(n: int, most: float) -> None:
    # The expectation, over all offsets and starts. It is circulant: shifting a matching shifts its start.
    mean = np.zeros((n, n))
    for a in range(1, n):
        W = _weights(matched(n, a, 0, share=0.5))
        mean += sum(np.roll(W.T @ W, (s, s), axis=(0, 1)) for s in range(n)) / (n * (n - 1))
    assert 0.5 < np.linalg.eigvalsh(mean)[-2] < most


def test_a_matching_that_starts_elsewhere_is_the_same_one_shifted() -> None:
    shifted = np.roll(_weights(matched(7, 3, 0)), (2, 2), axis=(0, 1))
    assert np.array_equal(_weights(matched(7, 3, 2)), shifted)


def test_one_random_pair_of_a_ring_is_randomised_gossip() -> None:
    # E[W^T W] = E[W] since W is a projection, and λ_2(E[W]) = 1 - λ_2(L) / (2|E|) = 0.9952424708 for 16 clients.
    ring = nx.cycle_graph(16)
    every = []
    for pair in ring.edges:
        one = nx.Graph([pair])
        one.add_nodes_from(range(16))
        every.append(of_graph(one, Metropolis()))
    laplacian = np.linalg.eigvalsh(nx.laplacian_matrix(ring).toarray().astype(float))
    assert np.linalg.eigvalsh(np.mean(every, axis=0))[-2] == pytest.approx(1 - laplacian[1] / 32, abs=1e-12)
    assert 1 - laplacian[1] / 32 == pytest.approx(0.9952424708, abs=1e-10)


def test_every_link_is_as_likely_to_be_the_random_pair() -> None:
    topology = Matching(of=Ring(), pairs=1)
    drawn = Counter(tuple(sorted(pair)) for t in range(1600) for pair in topology.graph(16, 0, t).edges)
    # 1600 draws of 16 links: 100 each, deviation 10.
    assert len(drawn) == 16
    assert min(drawn.values()) > 60
    assert max(drawn.values()) < 140


def test_matched_pairs_average() -> None:
    W = dense(Matching(), 7)
    assert sorted(W.diagonal()) == [0.5] * 6 + [1.0]
    assert pytest.approx(W, abs=1e-15) == W @ W


def test_matchings_of_a_graph_are_maximal() -> None:
    for t in range(20):
        graph = Matching(of=Ring()).graph(11, 0, t)
        alone = {node for node in graph if graph.degree(node) == 0}
        assert not any({i, (i + 1) % 11} <= alone for i in range(11))


def test_epidemic_clients_send_to_so_many_others_and_average_what_they_hear() -> None:
    for t in range(20):
        W = dense(Epidemic(degree=3), 12, t)
        heard = (W > 0).sum(1) - 1
        assert ((W > 0).sum(0) - 1 == 3).all()
        assert pytest.approx((W > 0) / (1 + heard)[:, None]) == W


def test_push_sum_finds_the_mean_of_a_directed_graph_and_plain_averaging_does_not() -> None:
    graph = nx.gnp_random_graph(8, 0.35, seed=4, directed=True)
    P, R = of_graph(graph, PushSum()), of_graph(graph, Uniform())
    x = np.arange(8.0)
    s, w, y = x, np.ones(8), x
    for _ in range(200):
        s, w, y = P @ s, P @ w, R @ y
    assert s / w == pytest.approx(np.full(8, 3.5), abs=1e-14)
    assert w.sum() == pytest.approx(8, abs=1e-13)
    assert np.abs(s - 3.5).max() > 0.1
    assert np.ptp(y) < 1e-12
    assert abs(y[0] - 3.5) > 0.01


@pytest.mark.slow
def test_pulling_clients_hear_so_many_others_in_expectation() -> None:
    """R = 0.2 of n = 16: the variance of models shrinks by 1 - q/2 - (q/2 - q^2/4)/n with q = r n / (n-1), 0.8874."""
    n, r, draws = 16, 0.2, 3000
    x = np.random.default_rng(0).standard_normal((n, 200))
    x -= x.mean(0)
    heard, left = 0, 0.0
    for t in range(draws):
        W = Matrices(Pull(peers=r), n, seed=3).at(t)
        heard += W.nnz - n
        mixed = W @ x[:, t % 200]
        left += ((mixed - mixed.mean()) ** 2).sum() / (x[:, t % 200] ** 2).sum()
    assert heard / (n * draws) == pytest.approx(r, abs=0.01)
    q = r * n / (n - 1)
    assert left / draws == pytest.approx(1 - q / 2 - (q / 2 - q**2 / 4) / n, abs=0.01)


def test_a_client_that_pulls_halves_what_it_has_and_what_it_hears() -> None:
    W = Matrices(Pull(peers=1), 8).at(0).toarray()
    assert (np.sort(W, axis=1)[:, -2:] == 0.5).all()
    with pytest.raises(ConfigError, match=r"topology=pull: peers=9: must be at most the number of others, 7"):
        Matrices(Pull(peers=9), 8).at(0)
