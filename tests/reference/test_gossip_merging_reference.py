"""Epidemic learning, gossip learning, single merging and DFedSAM reproduce known factors and identities."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fedsparse.topologies.epidemic import Epidemic

from . import Send, d_psgd, dfedavg, dfedsam, epidemic, gossip_learning, single_merging
from .gossip_merging import drawn_peers, peers
from .gossip_oracle import NODES, RING, bowls, cloud, drawn_losses, line, weights_of
from .mixing import uniform_over
from .oracle import ROUND_OFF, printed
from .toys import Array

X, BOWLS = cloud(), bowls()
I = np.eye(NODES)  # noqa: E741


def factor(W: Array) -> float:
    """Mean over all directions of disagreement of what is left of its square after one exchange W."""
    n = len(W)
    centred = np.eye(n) - 1 / n
    return float(((centred @ W @ centred) ** 2).sum() / (n - 1))


def senders(rng: np.random.Generator, nodes: int, s: int) -> NDArray[np.bool_]:
    """Each node sends to s others, [receiver, sender]."""
    heard = np.zeros((nodes, nodes), dtype=bool)
    for j in range(nodes):
        heard[rng.permutation(np.delete(np.arange(nodes), j))[:s], j] = True
    return heard


@pytest.mark.parametrize(
    ("s", "nodes", "expected"),
    [(2, 16, 0.370), (2, 64, 0.420), (2, 100, 0.424), (4, 16, 0.178), (4, 64, 0.231), (4, 100, 0.235)],
)
def test_an_epidemic_exchange_leaves_the_stated_share_of_the_variance(s: int, nodes: int, expected: float):
    """The mean of 100 draws; one draw deviates by 0.033 for n = 16 and s = 2, by less for the others."""
    rng = np.random.default_rng(0)
    mean = np.mean([factor(uniform_over(senders(rng, nodes, s))) for _ in range(100)])
    assert mean == pytest.approx(expected, abs=0.012)


def test_epidemic_averaging_has_the_weights_of_the_topology():
    W = weights_of(Epidemic(degree=3), exchanges=5)
    ours = epidemic(BOWLS.gradient, X, (W > 0) & (I == 0), lr=0.1)
    other = d_psgd(BOWLS.gradient, X, W, 5, lr=0.1)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=ROUND_OFF)


def test_epidemic_learning_moves_the_mean():
    heard = np.stack([senders(np.random.default_rng(t), NODES, 2) for t in range(20)])
    ours = epidemic(None, X, heard)
    assert np.sqrt(((ours.mean[-1] - ours.mean[0]) ** 2).mean()) > 0.05


def test_an_epidemic_average_is_uniform_over_what_arrived():
    """Node 0 hears 1 and 2, and loses 2."""
    heard = np.array([[[False, True, True], [False, False, False], [True, False, False]]])
    lost = np.zeros((1, 3, 3), dtype=bool)
    lost[0, 0, 2] = True
    x = np.array([[0.0], [3.0], [9.0]])
    assert list(epidemic(None, x, heard).last[:, 0]) == [4.0, 3.0, 4.5]
    assert list(epidemic(None, x, heard, lost=lost).last[:, 0]) == [1.5, 3.0, 4.5]


def test_gossip_learning_of_two_nodes_with_even_weights_is_pairwise_gossip():
    ours = gossip_learning(None, X[:2], [[Send(0, 1), Send(1, 0)]], merge="avg")
    np.testing.assert_allclose(ours.last, np.broadcast_to(X[:2].mean(0), (2, 20)), rtol=0, atol=ROUND_OFF)


def test_gossip_learning_makes_a_fresh_node_copy_the_sender():
    ages = np.array([[5.0], [0.0]])
    ours = gossip_learning(None, X[:2], [[Send(0, 1)]], ages=ages)
    np.testing.assert_array_equal(ours.last[1], X[0])
    assert list(ours.states["age"][-1, :, 0]) == [5.0, 5.0]


def test_gossip_learning_weights_models_by_their_ages():
    ours = gossip_learning(None, np.array([[0.0], [8.0]]), [[Send(1, 0)]], ages=np.array([[1.0], [3.0]]))
    assert ours.last[0, 0] == 6.0
    assert ours.states["age"][-1, 0, 0] == 3.0


def test_gossip_learning_weights_two_fresh_models_evenly():
    assert gossip_learning(None, np.array([[0.0], [8.0]]), [[Send(1, 0)]]).last[0, 0] == 4.0


def test_gossip_learning_without_merging_is_a_model_that_walks_and_trains():
    """It goes 0, 1, 2 and takes the step of each node that it visits."""
    toy = line(3)
    start = np.full((3, 1), 10.0)
    ours = gossip_learning(toy.gradient, start, [[Send(0, 1)], [Send(1, 2)]], merge="none", lr=0.1)
    x = 10.0
    for i in (1, 2):
        x = x - 0.1 * toy.a[i, 0] * (x - toy.b[i, 0])
        assert ours.x[i, i, 0] == pytest.approx(x, rel=1e-14)


def test_gossip_learning_trains_after_the_merge_and_counts_it_in_every_partition():
    toy, parts = bowls(size=4), [np.array([0, 3]), np.array([1, 2])]
    ages = np.zeros((NODES, 2))
    ages[3] = [2.0, 6.0]
    x = cloud(size=4)
    ours = gossip_learning(
        toy.gradient, x, [[Send(3, 7, 1)]], lr=0.1, partitions=parts, ages=ages, gained=1.0
    )
    merged = x[7].copy()
    merged[[1, 2]] = x[3, [1, 2]]
    np.testing.assert_allclose(ours.last[7], merged - 0.1 * toy.gradient(7, merged), rtol=0, atol=ROUND_OFF)
    assert list(ours.states["age"][-1, 7]) == [1.0, 7.0]
    np.testing.assert_array_equal(np.delete(ours.last, 7, 0), np.delete(x, 7, 0))


def test_messages_of_one_round_leave_before_any_arrives():
    x = np.array([[0.0], [4.0], [8.0]])
    ours = gossip_learning(None, x, [[Send(0, 1), Send(1, 2)]], merge="avg")
    assert list(ours.last[:, 0]) == [0.0, 2.0, 6.0]


@pytest.mark.parametrize(("nodes", "stated"), [(16, 0.890), (32, 0.898)])
def test_a_round_of_single_merging_leaves_about_nine_tenths_of_the_variance(nodes: int, stated: float):
    """With probability r a node pulls one peer, q = r n / (n - 1): 1 - q/2 - (q/2 - q^2/4) / n = .8874 and .8939.

    The first two terms are the mean square that is left, the last one is the drift of the mean. The stated factors
    were sampled.
    """
    q = 0.2 * nodes / (nodes - 1)
    exact = 1 - q / 2 - (q / 2 - q**2 / 4) / nodes
    rng = np.random.default_rng(0)
    sampled = [factor(uniform_over(drawn_peers(rng, nodes, 0.2))) for _ in range(1000)]
    assert np.mean(sampled) == pytest.approx(exact, abs=0.005)
    assert np.mean(sampled) == pytest.approx(stated, abs=0.007)


def test_single_merging_ends_with_the_mean():
    heard = np.stack([drawn_peers(np.random.default_rng(t), NODES, 0.2) for t in range(30)])
    ours, merged = single_merging(BOWLS.gradient, BOWLS.x0, heard, lr=0.05, steps=5)
    np.testing.assert_allclose(merged, ours.last.mean(0), rtol=0, atol=ROUND_OFF)
    assert BOWLS.error(merged[None]) < BOWLS.error(ours.last) / 5


def test_merging_equal_models_is_the_identity():
    same = np.repeat(X[:1], NODES, axis=0)
    _, merged = single_merging(None, same, np.ones((1, NODES, NODES), dtype=bool))
    np.testing.assert_allclose(merged, X[0], rtol=0, atol=ROUND_OFF)


def test_single_merging_with_all_peers_is_complete_averaging():
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(uniform_over(drawn_peers(rng, NODES, NODES - 1)), 1 / NODES)


@pytest.mark.parametrize(
    ("schedule", "at_0", "before", "after", "at_1"),
    [
        ("fixed", 0.2, 0.2, 0.2, 0.2),
        ("truncate", 0.2, 0.2, 15.0, 15.0),
        ("window", 0.2, 0.2, 15.0, 15.0),
        ("linear", 0.2, 0.2 + 14.8 * 0.4, 0.2 + 14.8 * 0.5, 15.0),
        ("cosine", 0.2, 15 - 7.4 * (1 + np.cos(0.4 * np.pi)), 7.6, 15.0),
        ("slow_decrease", 0.2, 15 - 14.8 * np.exp(-4), 15 - 14.8 * np.exp(-5), 15.0),
        ("slow_grow", 0.2, 0.2, 0.2, 15.0),
    ],
)
def test_the_number_of_peers_follows_its_schedule(
    schedule: str, at_0: float, before: float, after: float, at_1: float
):
    """At progress 0, 0.4, 0.5 and 1; the switch is at 0.5."""
    numbers = [peers(schedule, u, 0.2, 15.0, point=0.5, window=0.1) for u in (0.0, 0.4, 0.5, 1.0)]
    assert numbers == pytest.approx([at_0, before, after, at_1], rel=1e-12)


def test_a_window_of_complete_averaging_ends():
    assert peers("window", 0.61, 0.2, 15.0, point=0.5, window=0.1) == 0.2


def test_dfedsam_without_perturbation_is_dfedavg():
    ours = dfedsam(BOWLS.gradient, BOWLS.x0, RING, 20, lr=0.05, steps=3, rho=0.0)
    other = dfedavg(BOWLS.gradient, BOWLS.x0, RING, 20, lr=0.05, steps=3)
    np.testing.assert_array_equal(ours.x, other.x)


def test_dfedsam_takes_its_gradient_uphill():
    """On a |x|^2 / 2 a step is x - lr a (x + rho x / |x|)."""
    ours = dfedsam(lambda i, x: 2.0 * x, X, I, 1, lr=0.1, steps=1, rho=0.5)
    norm = np.linalg.norm(X, axis=1, keepdims=True)
    np.testing.assert_allclose(ours.last, X - 0.2 * (X + 0.5 * X / norm), rtol=0, atol=ROUND_OFF)


def test_dfedsam_stays_where_the_gradient_is_zero():
    zero = np.zeros((NODES, 3))
    np.testing.assert_array_equal(dfedsam(lambda i, x: x, zero, RING, 3, lr=0.1, steps=2, rho=0.1).last, zero)


def test_several_exchanges_are_a_power_of_the_weights():
    options = {"lr": 0.05, "steps": 2, "rho": 0.01}
    ours = dfedsam(BOWLS.gradient, X, RING, 10, exchanges=4, **options)
    other = dfedsam(BOWLS.gradient, X, np.linalg.matrix_power(RING, 4), 10, **options)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=ROUND_OFF)


def test_four_exchanges_on_the_ring_mix_with_the_fourth_power_of_its_rate():
    """lambda_2 = (1 + 2 cos(2 pi / 16)) / 3."""
    rate = np.linalg.norm(np.linalg.matrix_power(RING, 4) - 1 / NODES, 2)
    assert rate == printed(".8119475")
    assert rate == pytest.approx(((1 + 2 * np.cos(np.pi / 8)) / 3) ** 4, rel=1e-13)


def test_each_of_several_exchanges_has_its_own_losses():
    lost = drawn_losses(2, 0.5, 0)
    lost[0] = False
    ours = dfedsam(BOWLS.gradient, X, RING, 1, lr=0.05, steps=1, rho=0.0, exchanges=2, lost=lost)
    trained = X - 0.05 * BOWLS.a * (X - BOWLS.b)
    other = d_psgd(lambda i, x: 0 * x, RING @ trained, RING, 1, lr=0.0, lost=lost[1:])
    np.testing.assert_allclose(ours.last, other.last, rtol=0, atol=ROUND_OFF)


def test_the_local_step_decays_from_round_to_round():
    ours = dfedsam(
        lambda i, x: np.ones_like(x), np.zeros((2, 1)), np.eye(2), 3, lr=0.1, steps=1, rho=0.0, decay=0.5
    )
    np.testing.assert_allclose(ours.x[:, 0, 0], [0.0, -0.1, -0.15, -0.175])
