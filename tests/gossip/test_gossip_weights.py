"""What becomes of the weight of a message that was not heard."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from fedsparse.engine.gossip.edges import Edges, realised
from fedsparse.gossip import Delivery
from fedsparse.graphs import Matrices
from fedsparse.mixing.push_sum import PushSum
from fedsparse.topologies.erdos_renyi import ErdosRenyi

N = 12


def drawn() -> tuple[Edges, np.ndarray]:
    edges = Edges.of(Matrices(ErdosRenyi(), N, seed=2).weights(0))
    return edges, np.random.default_rng(0).random(len(edges)) > 0.3


def matrix(edges: Edges, heard: np.ndarray, delivery: Delivery) -> np.ndarray:
    found = realised(edges, heard, delivery)
    made = np.diag(found.own)
    made[edges.receivers[heard], edges.senders[heard]] = found.others
    return made


def test_links_are_the_entries_beside_the_diagonal() -> None:
    W = Matrices(ErdosRenyi(), N, seed=2).weights(0)
    edges = Edges.of(W)
    np.testing.assert_array_equal(matrix(edges, np.ones(len(edges), dtype=bool), "latest"), W.toarray())
    keys = edges.receivers * N + edges.senders
    assert (np.diff(keys) > 0).all()


def test_latest_keeps_the_sums_of_rows_and_shared_too() -> None:
    edges, heard = drawn()
    for delivery in ("latest", "shared"):
        np.testing.assert_allclose(matrix(edges, heard, delivery).sum(1), 1, rtol=0, atol=1e-15)


def test_kept_keeps_the_sums_of_columns() -> None:
    edges, heard = drawn()
    np.testing.assert_allclose(matrix(edges, heard, "kept").sum(0), 1, rtol=0, atol=1e-15)
    assert abs(matrix(edges, heard, "kept").sum(1) - 1).max() > 0.1


def test_a_link_that_is_cut_both_ways_leaves_latest_and_kept_alike_and_doubly_stochastic() -> None:
    edges, _ = drawn()
    low, high = np.minimum(edges.senders, edges.receivers), np.maximum(edges.senders, edges.receivers)
    heard = (low * 7 + high) % 3 > 0
    W = matrix(edges, heard, "latest")
    np.testing.assert_allclose(W, matrix(edges, heard, "kept"), rtol=0, atol=1e-15)
    np.testing.assert_allclose(W, W.T, rtol=0, atol=1e-15)
    np.testing.assert_allclose(W.sum(0), 1, rtol=0, atol=1e-15)


def test_shared_keeps_the_proportions_of_what_arrived() -> None:
    edges, heard = drawn()
    W, whole = matrix(edges, heard, "shared"), matrix(edges, np.ones_like(heard), "latest")
    there = W > 0
    ratios = np.where(there, W / np.where(there, whole, 1), 0)
    for row, found in zip(ratios, there, strict=True):
        np.testing.assert_allclose(row[found], row[found][0], rtol=1e-14)


def test_column_stochastic_weights_lose_nothing_when_kept() -> None:
    topology = ErdosRenyi()
    edges = Edges.of(Matrices(topology, N, PushSum(), seed=2).weights(0))
    heard = np.zeros(len(edges), dtype=bool)
    np.testing.assert_allclose(realised(edges, heard, "kept").own, 1, rtol=0, atol=1e-15)


@pytest.mark.parametrize("delivery", ["latest", "shared", "kept"])
def test_who_hears_nobody_keeps_its_own(delivery: Delivery) -> None:
    edges, _ = drawn()
    found = realised(edges, np.zeros(len(edges), dtype=bool), delivery)
    np.testing.assert_allclose(found.own, 1, rtol=0, atol=1e-15)


def test_negative_own_weights_are_left_as_they_are() -> None:
    W = csr_array(np.array([[-0.2, 1.2], [1.2, -0.2]]))
    found = realised(Edges.of(W), np.ones(2, dtype=bool), "latest")
    np.testing.assert_array_equal(found.own, [-0.2, -0.2])
