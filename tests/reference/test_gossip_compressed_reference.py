"""CHOCO, BEER, DeepSqueeze and the naive exchange reproduce known rates, identities, biases and stalls."""

from collections.abc import Callable

import numpy as np
import pytest

from fedsparse.topologies.ring import Ring

from . import beer, choco, choco_copies, compressors, d_psgd, deepsqueeze, gradient_tracking, naive
from .compressors import Compress, identity, top_k
from .gossip_compressed import theoretical_gamma
from .gossip_oracle import NODES, RING, TORUS, bowls, cloud, drawn_losses, rate, weights_of
from .mixing import Lost, disagreement
from .oracle import ROUND_OFF, Q, printed
from .toys import Array

X, BOWLS = cloud(), bowls()


def rand2() -> Compress:
    """Two of 20 at random, not scaled."""
    return compressors.rand_k(2, seed=1, unbiased=False)


def top2() -> Compress:
    """The two largest of 20."""
    return top_k(2)


COMPRESSORS: dict[str, Callable[[], Compress]] = {"top2": top2, "rand2": rand2, "identity": lambda: identity}


def consensus(W: Array, compress: str, gamma: float, rounds: int) -> Array:
    """Squared disagreement after each round of CHOCO without training."""
    with np.errstate(over="ignore"):
        ours = choco(None, X, W, rounds, gamma=gamma, compress=COMPRESSORS[compress]())
    return disagreement(ours.x)


@pytest.mark.parametrize(
    ("compress", "gamma", "expected"),
    [
        ("top2", 0.05, 0.99490),
        ("top2", 0.1, 0.98975),
        ("top2", 0.2, 0.97939),
        ("top2", 0.3, 0.96892),
        ("rand2", 0.05, 0.99481),
        ("rand2", 0.1, 0.98937),
    ],
)
def test_choco_on_the_ring_has_the_stated_rates(compress: str, gamma: float, expected: float):
    """From round 500 to 1000; other starts and windows change the fifth digit."""
    assert rate(consensus(RING, compress, gamma, 1000), 500, 1000) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("compress", "gamma", "expected", "spread"),
    [
        ("top2", 0.05, 0.95945, 2e-3),
        ("top2", 0.1, 0.91967, 5e-3),
        ("top2", 0.2, 0.81890, 5e-3),
        ("rand2", 0.05, 0.95063, 3e-3),
        ("rand2", 0.1, 0.96698, 0.02),
    ],
)
def test_choco_on_the_torus_has_the_stated_rates(compress: str, gamma: float, expected: float, spread: float):
    """From round 100 to 300, before round-off; `spread` is what other starts, draws and windows change."""
    assert rate(consensus(TORUS, compress, gamma, 300), 100, 300) == pytest.approx(expected, abs=spread)


@pytest.mark.parametrize("gamma", [0.05, 0.1, 0.2, 0.3, 0.5])
def test_choco_without_compression_has_the_rate_of_damped_mixing(gamma: float):
    """(1 - gamma (1 - lambda_2))^2, and lambda_2 of the torus is 3/5: .96040, .92160, .84640, .77440, .64000."""
    slowest = np.linalg.eigh(TORUS)[1][:, -2:-1]
    errors = disagreement(choco(None, slowest, TORUS, 20, gamma=gamma, compress=identity).x)
    assert rate(errors, 0, 20) == pytest.approx((1 - 0.4 * gamma) ** 2, rel=1e-12)


@pytest.mark.parametrize(
    ("W", "compress", "gamma", "rounds"),
    [
        (RING, "top2", 0.5, 300),
        (RING, "rand2", 0.2, 1500),
        (RING, "rand2", 0.3, 300),
        (RING, "rand2", 0.5, 300),
        (TORUS, "top2", 0.3, 600),
        (TORUS, "top2", 0.5, 300),
        (TORUS, "rand2", 0.2, 300),
        (TORUS, "rand2", 0.3, 300),
        (TORUS, "rand2", 0.5, 300),
    ],
)
def test_choco_diverges_with_too_large_a_step(W: Array, compress: str, gamma: float, rounds: int):
    errors = consensus(W, compress, gamma, rounds)
    assert errors[-1] > errors[rounds // 2] > errors[rounds // 4]
    assert errors[-1] > 10 * errors[rounds // 4]


@pytest.mark.parametrize("compress", [top2, rand2, lambda: identity, lambda: compressors.scaled_sign])
def test_choco_keeps_the_mean(compress: Callable[[], Compress]):
    ours = choco(None, X, TORUS, 200, gamma=0.05, compress=compress())
    np.testing.assert_allclose(ours.mean, np.broadcast_to(X.mean(0), (201, 20)), rtol=0, atol=3e-15)


def test_choco_without_compression_and_damping_is_mixing():
    ours = choco(None, X, RING, 50, gamma=1.0, compress=identity)
    for t in range(51):
        np.testing.assert_allclose(ours.x[t], np.linalg.matrix_power(RING, t) @ X, rtol=0, atol=ROUND_OFF)


def test_choco_without_compression_and_damping_is_d_psgd():
    ours = choco(BOWLS.gradient, BOWLS.x0, TORUS, 50, gamma=1.0, compress=identity, lr=0.1)
    other = d_psgd(BOWLS.gradient, BOWLS.x0, TORUS, 50, lr=0.1)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=5e-14)


@pytest.mark.parametrize("compress", [top2, rand2])
def test_the_two_forms_of_choco_are_the_same(compress: Callable[[], Compress]):
    options = {"gamma": 0.05, "lr": 0.05, "steps": 2}
    ours = choco(BOWLS.gradient, X, TORUS, 100, compress=compress(), **options)
    other = choco_copies(BOWLS.gradient, X, TORUS, 100, compress=compress(), **options)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=ROUND_OFF)
    np.testing.assert_allclose(ours.states["s"][-1], TORUS @ ours.states["xhat"][-1], rtol=0, atol=1e-13)


def test_the_step_of_the_theory_is_hopelessly_small():
    assert theoretical_gamma(RING, 0.1) == printed("3e-5")


@pytest.mark.parametrize(
    ("gamma", "at_200", "at_1000"),
    [(0.05, ".12535", "6.969e-04"), (0.1, ".032833", "8.641e-07"), (0.2, ".0020182", "8.7e-13")],
)
def test_choco_on_ten_nodes_has_the_stated_errors(gamma: float, at_200: str, at_1000: str):
    """Top 4 of 40 on a ring; distance of all from the mean, relative to that at the start."""
    x = np.random.default_rng(1).standard_normal((10, 40))
    errors = np.sqrt(
        disagreement(choco(None, x, weights_of(Ring(), 10), 1000, gamma=gamma, compress=top_k(4)).x)
    )
    assert errors[200] / errors[0] == printed(at_200)
    assert errors[1000] / errors[0] == printed(at_1000)


@pytest.mark.slow
@pytest.mark.parametrize(("lr", "error"), [(0.02, ".35"), (0.005, ".147")])
def test_choco_sgd_on_ten_quadratics_has_the_stated_bias(lr: float, error: str):
    x = np.zeros((Q.clients, Q.size))
    ours = choco(Q.gradient, x, weights_of(Ring(), 10), 3000, gamma=0.1, compress=top_k(4), lr=lr)
    assert Q.error(ours.mean[-1]) == printed(error)


def test_the_naive_exchange_on_ten_nodes_stalls():
    x = np.random.default_rng(1).standard_normal((10, 40))
    errors = np.sqrt(
        disagreement(naive(None, x, weights_of(Ring(), 10), 1000, gamma=0.1, compress=top_k(4)).x)
    )
    assert errors[1000] / errors[0] == printed(".4014")


def test_choco_that_mixes_with_the_copies_of_the_round_before_is_another_method():
    """It converges as well, on another path: x^1 is then the trained model, since all copies are still 0."""
    ours = choco(BOWLS.gradient, X, TORUS, 1, gamma=0.1, compress=top2(), lr=0.05)
    half = X - 0.05 * BOWLS.a * (X - BOWLS.b)
    sent = np.stack([top2()(0, i, row) for i, row in enumerate(half)])
    np.testing.assert_allclose(ours.last, half + 0.1 * (TORUS @ sent - sent), rtol=0, atol=ROUND_OFF)
    assert np.abs(ours.last - half).max() > 0.05


def test_the_naive_exchange_stalls():
    """12.05 of 250.7: top2 of the models themselves, undamped."""
    ours = disagreement(naive(None, X, TORUS, 1000, gamma=1.0, compress=top2()).x)
    assert ours[0] == printed("250.667")
    assert ours[-1] == printed("12.05")
    assert disagreement(choco(None, X, TORUS, 1000, gamma=0.1, compress=top2()).last) < 1e-24


def copies_that_ignore_losses(gamma: float, lost: Lost) -> Array:
    """The models if lost increments are never made up for and everyone believes that all arrive."""
    x, xhat, copies = X, np.zeros_like(X), np.zeros((NODES, *X.shape))
    for t, gone in enumerate(lost):
        q = np.stack([top2()(t, i, row) for i, row in enumerate(x - xhat)])
        xhat = xhat + q
        arrived = ~gone | np.eye(NODES, dtype=bool)
        copies = copies + arrived[:, :, None] * q
        x = x + gamma * np.einsum("ij,ijd->id", TORUS, copies - xhat[:, None])
    return x


@pytest.mark.parametrize("probability", [0.2, 0.5])
def test_choco_with_queued_losses_keeps_the_mean_and_the_rate(probability: float):
    lost = drawn_losses(300, probability, seed=3)
    ours = choco_copies(None, X, TORUS, 300, gamma=0.1, compress=top2(), lost=lost)
    np.testing.assert_allclose(ours.mean[-1], X.mean(0), rtol=0, atol=3e-15)
    assert rate(disagreement(ours.x), 0, 300) == pytest.approx(
        rate(consensus(TORUS, "top2", 0.1, 300), 0, 300), abs=0.03
    )


def test_choco_that_ignores_losses_loses_the_mean_and_stalls():
    last = copies_that_ignore_losses(0.1, drawn_losses(300, 0.2, seed=3))
    assert np.abs(last.mean(0) - X.mean(0)).max() > 0.01
    assert disagreement(last) > 0.1


@pytest.mark.parametrize(("lr", "error"), [(0.1, "1.86"), (0.05, "1.42"), (0.025, "0.98")])
def test_choco_sgd_is_biased_by_its_step(lr: float, error: str):
    ours = choco(BOWLS.gradient, BOWLS.x0, TORUS, 400, gamma=0.1, compress=top2(), lr=lr)
    assert BOWLS.error(ours.last) == printed(error)


def test_beer_is_exact_where_choco_sgd_is_not():
    ours = beer(BOWLS.gradient, BOWLS.x0, TORUS, 2000, lr=0.02, gamma=0.1, compress=top2())
    assert BOWLS.error(ours.x[1000]) == printed("8.0e-9")
    assert BOWLS.error(ours.last) < ROUND_OFF


@pytest.mark.parametrize("probability", [0.0, 0.3])
def test_beer_tracks_the_mean_gradient_whatever_is_lost(probability: float):
    lost = drawn_losses(200, probability, seed=3)
    ours = beer(BOWLS.gradient, BOWLS.x0, TORUS, 200, lr=0.02, gamma=0.1, compress=top2(), lost=lost)
    np.testing.assert_allclose(ours.states["v"].mean(1), ours.states["g"].mean(1), rtol=0, atol=2e-14)


def test_beer_reaches_the_minimum_in_spite_of_losses():
    lost = drawn_losses(1000, 0.3, seed=3)
    ours = beer(BOWLS.gradient, BOWLS.x0, TORUS, 1000, lr=0.02, gamma=0.1, compress=top2(), lost=lost)
    assert BOWLS.error(ours.last) < 1e-6


def test_beer_without_compression_is_gradient_tracking_with_damped_mixing_after_its_first_round():
    """H and G start at 0; if they start where x and v are, it is x+ = M x - lr v, M = I + gamma (W - I)."""
    still = beer(BOWLS.gradient, BOWLS.x0, TORUS, 1, lr=0.0, gamma=0.5, compress=identity)
    np.testing.assert_allclose(still.states["h"][1], still.x[1], rtol=0, atol=ROUND_OFF)
    ours = beer(BOWLS.gradient, BOWLS.x0, TORUS, 30, lr=0.05, gamma=0.5, compress=identity)
    M = (np.eye(NODES) + TORUS) / 2
    for t in range(1, 30):
        np.testing.assert_allclose(
            ours.x[t + 1], M @ ours.x[t] - 0.05 * ours.states["v"][t], rtol=0, atol=1e-13
        )
    assert BOWLS.error(ours.last) < BOWLS.error(BOWLS.x0) / 2
    other = gradient_tracking(BOWLS.gradient, BOWLS.x0, M, 1, lr=0.05, order="cta")
    np.testing.assert_allclose(ours.x[1], other.x[1], rtol=0, atol=ROUND_OFF)


@pytest.mark.parametrize(("lr", "stated"), [(0.1, 1.61), (0.05, 1.27), (0.025, 1.33), (0.0125, 1.10)])
def test_deepsqueeze_wanders_at_the_stated_distance(lr: float, stated: float):
    """Its distance from the minimum goes up and down by a fifth and more; on average 1.57, 1.29, 1.13, 1.08."""
    ours = deepsqueeze(BOWLS.gradient, BOWLS.x0, TORUS, 1500, gamma=0.4, compress=top2(), lr=lr)
    distances = [BOWLS.error(x) for x in ours.x[500:]]
    assert min(distances) <= stated <= max(distances)
    assert max(distances) - min(distances) < 0.5


def test_deepsqueeze_is_nearer_with_more_damping():
    ours = deepsqueeze(BOWLS.gradient, BOWLS.x0, TORUS, 1500, gamma=0.1, compress=top2(), lr=0.0125)
    assert BOWLS.error(ours.last) == pytest.approx(0.65, abs=0.03)


def test_deepsqueeze_without_compression_is_damped_d_psgd():
    ours = deepsqueeze(BOWLS.gradient, BOWLS.x0, TORUS, 50, gamma=0.5, compress=identity, lr=0.1)
    other = d_psgd(BOWLS.gradient, BOWLS.x0, (np.eye(NODES) + TORUS) / 2, 50, lr=0.1)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=5e-14)


def test_deepsqueeze_keeps_what_was_not_sent_in_its_memory():
    """The sum of what i sent is the sum of its trained models less its memory."""
    ours = deepsqueeze(None, X, TORUS, 3, gamma=0.4, compress=top2())
    e = np.zeros_like(X)
    for t in range(3):
        sent = np.stack([top2()(t, i, row) for i, row in enumerate(ours.x[t] + e)])
        e = ours.x[t] + e - sent
        np.testing.assert_allclose(ours.states["e"][t + 1], e, rtol=0, atol=ROUND_OFF)
        np.testing.assert_allclose(
            ours.x[t + 1], ours.x[t] + 0.4 * (TORUS @ sent - sent), rtol=0, atol=ROUND_OFF
        )
