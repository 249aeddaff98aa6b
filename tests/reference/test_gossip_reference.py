"""D-PSGD, DFedAvg(M), gradient tracking, EXTRA and push-sum reproduce closed forms, known numbers and identities."""

import networkx as nx
import numpy as np
import pytest

from fedsparse.topologies.one_peer_exponential import OnePeerExponential

from . import d_psgd, dfedavg, extra, gradient_tracking, push_sum
from .gossip_oracle import NODES, RING, TORUS, bowls, cloud, drawn_losses, line, weights_of
from .mixing import kept, latest, renormalised
from .oracle import ROUND_OFF, printed
from .toys import Array

LINE, EQUAL, BOWLS = line(), line(equal=True), bowls()
I = np.eye(NODES)  # noqa: E741
A = np.diag(LINE.a[:, 0])

DIRECTED = nx.to_numpy_array(
    nx.gnp_random_graph(8, 0.35, seed=4, directed=True), nodelist=range(8)
).T + np.eye(8)
"""Who hears whom, itself included: an arc of the graph goes from sender to receiver."""
COLUMNS, ROWS = DIRECTED / DIRECTED.sum(0), DIRECTED / DIRECTED.sum(1, keepdims=True)


def atc_fixed_point(lr: float) -> Array:
    """X = W (x - lr A (x - b))."""
    return np.linalg.solve(I - RING @ (I - lr * A), lr * RING @ A @ LINE.b)


def cta_fixed_point(lr: float) -> Array:
    """X = W x - lr A (x - b)."""
    return np.linalg.solve(I - RING + lr * A, lr * A @ LINE.b)


@pytest.mark.parametrize(
    ("lr", "atc", "atc_mean", "cta", "cta_mean"),
    [
        (0.1, "4.247443", ".488758", "4.316814", ".525945"),
        (0.05, "3.288299", ".372125", "3.352259", ".398647"),
        (0.025, "2.274457", ".255605", "2.343706", ".273798"),
        (0.0125, "1.411660", ".158266", "1.466722", ".169915"),
    ],
)
def test_d_psgd_fixed_points_are_as_far_from_the_minimum_as_stated(
    lr: float, atc: str, atc_mean: str, cta: str, cta_mean: str
):
    for point, worst, mean in (
        (atc_fixed_point(lr), atc, atc_mean),
        (cta_fixed_point(lr), cta, cta_mean),
    ):
        assert LINE.worst(point) == printed(worst)
        assert abs(point.mean() - LINE.x_star[0]) == printed(mean)


@pytest.mark.parametrize(("order", "fixed_point"), [("atc", atc_fixed_point), ("cta", cta_fixed_point)])
def test_d_psgd_ends_at_its_fixed_point(order: str, fixed_point):
    ours = d_psgd(LINE.gradient, LINE.x0, RING, 1000, lr=0.1, order=order)
    np.testing.assert_allclose(ours.last, fixed_point(0.1), rtol=0, atol=4e-14)


def test_d_psgd_with_equal_curvatures_has_the_exact_mean_although_nodes_disagree():
    ours = d_psgd(EQUAL.gradient, EQUAL.x0, RING, 1000, lr=0.1)
    assert abs(ours.mean[-1, 0] - 7.5) < ROUND_OFF
    assert EQUAL.worst(ours.last) == printed("3.45")


@pytest.mark.parametrize("order", ["atc", "cta"])
def test_d_psgd_on_the_complete_graph_has_the_mean_of_gradient_descent(order: str):
    """With equal curvatures; atc is then gradient descent itself."""
    ours = d_psgd(EQUAL.gradient, EQUAL.x0, np.full((NODES, NODES), 1 / NODES), 30, lr=0.1, order=order)
    np.testing.assert_allclose(ours.mean[:, 0], 7.5 * (1 - 0.9 ** np.arange(31)), rtol=0, atol=ROUND_OFF)


def test_d_psgd_without_gradients_is_repeated_mixing():
    ours = d_psgd(lambda i, x: 0 * x, cloud(), TORUS, 30, lr=0.1)
    np.testing.assert_allclose(ours.last, np.linalg.matrix_power(TORUS, 30) @ cloud(), rtol=0, atol=ROUND_OFF)


def test_d_psgd_takes_the_weights_of_each_exchange():
    swap = np.eye(NODES)[np.arange(NODES)[::-1]]
    ours = d_psgd(lambda i, x: 0 * x, cloud(), np.stack([RING, swap]), 2, lr=0.1)
    np.testing.assert_allclose(ours.last, (RING @ cloud())[::-1], rtol=0, atol=ROUND_OFF)


def test_dfedavg_without_momentum_is_d_psgd_with_local_steps():
    ours = dfedavg(BOWLS.gradient, BOWLS.x0, RING, 20, lr=0.05, steps=4)
    other = d_psgd(BOWLS.gradient, BOWLS.x0, RING, 20, lr=0.05, steps=4)
    np.testing.assert_array_equal(ours.x, other.x)


def test_dfedavgm_takes_heavy_ball_steps_that_begin_anew_each_round():
    """Two steps on a (x - b)^2 / 2 from x: y_1 = x - s, y_2 = y_1 - lr a (y_1 - b) - momentum s, s = lr a (x - b)."""
    ours = dfedavg(LINE.gradient, LINE.x0, I, 2, lr=0.1, steps=2, momentum=0.9)
    x = LINE.x0
    for t in range(2):
        s = 0.1 * LINE.a * (x - LINE.b)
        x = x - s - 0.1 * LINE.a * (x - s - LINE.b) - 0.9 * s
        np.testing.assert_allclose(ours.x[t + 1], x, rtol=0, atol=ROUND_OFF)


def test_gradient_tracking_is_as_near_the_minimum_as_stated():
    atc = gradient_tracking(LINE.gradient, LINE.x0, RING, 6000, lr=0.1)
    cta = gradient_tracking(LINE.gradient, LINE.x0, RING, 2000, lr=0.1, order="cta")
    assert LINE.worst(atc.x[500]) == printed("1.2e-2")
    assert LINE.worst(atc.x[2000]) == printed("5.4e-10")
    assert LINE.worst(atc.last) < 5e-14
    assert LINE.worst(cta.last) == printed("2.3e-9")


@pytest.mark.parametrize("order", ["atc", "cta"])
@pytest.mark.parametrize("probability", [0.0, 0.2])
def test_gradient_tracking_tracks_the_mean_gradient_whatever_is_lost(order: str, probability: float):
    """The sum of y telescopes, with noise as well, as long as the old gradient is the stored one."""
    rng = np.random.default_rng(0)
    ours = gradient_tracking(
        lambda i, x: LINE.gradient(i, x) + rng.standard_normal(1),
        LINE.x0,
        RING,
        200,
        lr=0.05,
        order=order,
        lost=drawn_losses(200, probability, 3),
        lost_tracker=drawn_losses(200, probability, 4),
    )
    np.testing.assert_allclose(ours.states["y"].mean(1), ours.states["g"].mean(1), rtol=0, atol=5e-14)


@pytest.mark.parametrize("order", ["atc", "cta"])
def test_gradient_tracking_reaches_the_minimum_in_spite_of_losses(order: str):
    options = {"lr": 0.05, "order": order, "lost": drawn_losses(2500, 0.2, 3)}
    ours = gradient_tracking(
        LINE.gradient, LINE.x0, RING, 2500, lost_tracker=drawn_losses(2500, 0.2, 4), **options
    )
    assert LINE.worst(ours.last) < 1e-11


def test_gradient_tracking_that_gives_lost_shares_of_y_to_the_receiver_stops_short():
    x, g = LINE.x0, LINE.a * (LINE.x0 - LINE.b)
    y = g
    for lost in drawn_losses(2500, 0.2, 3) & ~np.eye(NODES, dtype=bool):
        R = latest(RING, lost)
        x = R @ (x - 0.05 * y)
        new = LINE.a * (x - LINE.b)
        y, g = R @ (y + new - g), new
    assert LINE.worst(x) > 0.01


def test_extra_is_exact():
    ours = extra(LINE.gradient, LINE.x0, RING, 3000, lr=0.1)
    assert LINE.worst(ours.last) == printed("1e-11")


def test_extra_is_d_psgd_that_adds_up_its_disagreement():
    """x^{t+1} = W x^t - lr g^t + sum over s < t of (W - I) x^s / 2: the sum of its steps."""
    ours = extra(BOWLS.gradient, BOWLS.x0, TORUS, 30, lr=0.1)
    total = np.zeros_like(BOWLS.x0)
    for t in range(30):
        expected = TORUS @ ours.x[t] - 0.1 * ours.states["g"][t] + total
        np.testing.assert_allclose(ours.x[t + 1], expected, rtol=0, atol=1e-13)
        total = total + (TORUS - I) @ ours.x[t] / 2


def test_push_sum_averages_on_a_directed_graph():
    x = np.random.default_rng(0).standard_normal((8, 1))
    ours = push_sum(None, x, COLUMNS, 200)
    assert np.abs(ours.last - x.mean()).max() < 1e-15
    np.testing.assert_allclose(ours.states["w"].sum(1), 8, rtol=0, atol=1e-13)


def test_push_sum_without_its_weights_is_wrong():
    x = np.random.default_rng(0).standard_normal((8, 1))
    ours = push_sum(None, x, COLUMNS, 200)
    assert np.abs(ours.states["s"][-1] - x.mean()).max() == printed("0.42")


def test_a_row_stochastic_matrix_agrees_on_a_wrong_value():
    x = np.random.default_rng(0).standard_normal((8, 1))
    last = np.linalg.matrix_power(ROWS, 200) @ x
    assert np.ptp(last) < ROUND_OFF
    assert np.abs(last - x.mean()).max() > 0.05


@pytest.mark.parametrize(("lr", "rounds", "error"), [(0.05, 2000, "0.118"), (0.0125, 6000, "0.031")])
def test_push_sum_with_gradients_is_biased_in_proportion_to_its_step(lr: float, rounds: int, error: str):
    toy = line(8)
    assert toy.worst(push_sum(toy.gradient, toy.x0, COLUMNS, rounds, lr=lr).last) == printed(error)


def test_push_sum_with_doubly_stochastic_weights_is_d_psgd():
    ours = push_sum(BOWLS.gradient, BOWLS.x0, TORUS, 50, lr=0.1)
    other = d_psgd(BOWLS.gradient, BOWLS.x0, TORUS, 50, lr=0.1)
    np.testing.assert_allclose(ours.last, other.last, rtol=0, atol=1e-13)


def test_push_sum_averages_whatever_is_lost():
    x = np.random.default_rng(0).standard_normal((8, 1))
    ours = push_sum(None, x, COLUMNS, 400, lost=drawn_losses(400, 0.3, 2, nodes=8))
    assert np.abs(ours.last - x.mean()).max() < ROUND_OFF


def test_what_a_loss_does_to_the_weights():
    W = np.array([[0.5, 0.3, 0.2], [0.3, 0.6, 0.1], [0.2, 0.1, 0.7]])
    lost = np.zeros((3, 3), dtype=bool)
    lost[0, 2] = True
    np.testing.assert_allclose(latest(W, lost)[0], [0.7, 0.3, 0.0])
    np.testing.assert_allclose(kept(W, lost), [[0.5, 0.3, 0.0], [0.3, 0.6, 0.1], [0.2, 0.1, 0.9]])
    np.testing.assert_allclose(renormalised(W, lost)[0], [0.625, 0.375, 0.0])


def test_d_psgd_that_loses_everything_is_training_alone():
    options = {"lr": 0.1, "steps": 2}
    ours = d_psgd(BOWLS.gradient, BOWLS.x0, RING, 20, lost=drawn_losses(20, 1.1, 0), **options)
    alone = d_psgd(BOWLS.gradient, BOWLS.x0, I, 20, **options)
    np.testing.assert_allclose(ours.x, alone.x, rtol=0, atol=ROUND_OFF)


def test_a_directed_graph_has_the_receivers_in_its_rows():
    """In the first exchange of the one-peer exponential graph node i hears node i - 1 alone."""
    x = np.arange(4.0)[:, None]
    ours = d_psgd(lambda i, x: 0 * x, x, weights_of(OnePeerExponential(), 4, exchanges=2), 2, lr=0.1)
    np.testing.assert_allclose(ours.x[1, :, 0], [1.5, 0.5, 1.5, 2.5])
    np.testing.assert_allclose(ours.x[2, :, 0], 1.5)
