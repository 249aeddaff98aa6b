"""Subsampling, partial models and JWINS reproduce known rates and identities; the wavelets are PyWavelets'."""

import numpy as np
import pytest
from numpy.typing import NDArray

from . import d_psgd, jwins, partial_model, random_subsampling, wavelets
from .gossip_oracle import NODES, RING, TORUS, bowls, cloud, drawn_losses, rate
from .mixing import disagreement
from .oracle import ROUND_OFF
from .wavelets import Wavelet

X, BOWLS = cloud(), bowls()
LOCAL = {"lr": 0.05, "steps": 2}


def masks(share: float, rounds: int, size: int = 20, seed: int = 5) -> NDArray[np.bool_]:
    """Every coordinate of every message with probability `share`, [T, n, d]."""
    return np.random.default_rng(seed).random((rounds, NODES, size)) < share


@pytest.mark.parametrize(("share", "expected"), [(0.1, 0.99015), (0.5, 0.95054), (1.0, 0.90108)])
def test_subsampling_has_the_stated_rate(share: float, expected: float):
    """Close to (1 - share (1 - lambda_2))^2 = .98988, .94990, .90108; 60 coordinates, rounds 100 to 300."""
    ours = random_subsampling(None, cloud(size=60), RING, 300, masks=masks(share, 300, 60))
    assert rate(disagreement(ours.x), 100, 300) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("share", "drift"), [(0.1, 0.165), (0.5, 0.134), (1.0, 0.0)])
def test_subsampling_moves_the_mean_as_far_as_stated(share: float, drift: float):
    """Root mean square over 60 coordinates, of deviation 1 / sqrt(16) = 0.25 at first."""
    ours = random_subsampling(None, cloud(size=60), RING, 300, masks=masks(share, 300, 60))
    assert np.sqrt(((ours.mean[-1] - ours.mean[0]) ** 2).mean()) == pytest.approx(drift, abs=0.02)


def test_subsampling_with_the_same_mask_for_everyone_keeps_the_mean():
    same = np.repeat(masks(0.3, 200)[:, :1], NODES, axis=1)
    ours = random_subsampling(None, X, RING, 200, masks=same)
    np.testing.assert_allclose(ours.mean[-1], X.mean(0), rtol=0, atol=1e-15)


def test_subsampling_of_everything_is_d_psgd():
    ours = random_subsampling(BOWLS.gradient, X, RING, 20, masks=masks(2.0, 20), **LOCAL)
    np.testing.assert_allclose(ours.x, d_psgd(BOWLS.gradient, X, RING, 20, **LOCAL).x, rtol=0, atol=ROUND_OFF)


def test_subsampling_that_loses_everything_is_training_alone():
    ours = random_subsampling(
        BOWLS.gradient, X, RING, 20, masks=masks(0.5, 20), lost=drawn_losses(20, 1.1, 0), **LOCAL
    )
    alone = d_psgd(BOWLS.gradient, X, np.eye(NODES), 20, **LOCAL)
    np.testing.assert_allclose(ours.x, alone.x, rtol=0, atol=ROUND_OFF)


def test_a_receiver_fills_what_it_did_not_get_with_its_own_values():
    """Two nodes, weights 1/2: node 1 sends its first entry, node 0 its second."""
    W, x = np.full((2, 2), 0.5), np.array([[0.0, 4.0], [2.0, 8.0]])
    sent = np.array([[[False, True], [True, False]]])
    ours = random_subsampling(None, x, W, 1, masks=sent)
    np.testing.assert_array_equal(ours.last, [[1.0, 4.0], [2.0, 6.0]])


@pytest.mark.parametrize("averaging", [False, True])
def test_a_partial_model_that_is_whole_is_d_psgd(averaging: bool):
    ours = partial_model(BOWLS.gradient, X, RING, 20, kept=20, averaging=averaging, **LOCAL)
    np.testing.assert_allclose(ours.x, d_psgd(BOWLS.gradient, X, RING, 20, **LOCAL).x, rtol=0, atol=ROUND_OFF)


def test_a_partial_model_sends_what_changed_most_since_it_was_last_sent():
    """V is what has changed since: the trained model less that at the last sending of each coordinate."""
    ours = partial_model(BOWLS.gradient, X, RING, 30, kept=3, lr=0.05)
    last_sent = X.copy()
    for t in range(30):
        half = ours.x[t] - 0.05 * BOWLS.a * (ours.x[t] - BOWLS.b)
        order = np.argsort(-np.abs(half - last_sent), axis=1, kind="stable")[:, :3]
        np.put_along_axis(last_sent, order, np.take_along_axis(half, order, 1), 1)
        np.testing.assert_allclose(ours.states["V"][t + 1], ours.x[t + 1] - last_sent, rtol=0, atol=ROUND_OFF)


def test_a_partial_model_of_a_tenth_ends_nearer_the_minimum_than_training_alone():
    ours = partial_model(BOWLS.gradient, BOWLS.x0, TORUS, 400, kept=2, lr=0.05)
    assert BOWLS.error(ours.last) < BOWLS.error(BOWLS.b) / 2


@pytest.mark.parametrize("wavelet", [wavelets.haar(), wavelets.sym2(), wavelets.sym2(levels=1)])
@pytest.mark.parametrize("averaging", [False, True])
def test_jwins_that_sends_everything_is_d_psgd(wavelet: Wavelet, averaging: bool):
    shares = np.ones((20, NODES))
    ours = jwins(BOWLS.gradient, X, RING, 20, wavelet=wavelet, shares=shares, averaging=averaging, **LOCAL)
    np.testing.assert_allclose(ours.x, d_psgd(BOWLS.gradient, X, RING, 20, **LOCAL).x, rtol=0, atol=2e-14)


def test_jwins_without_levels_is_a_partial_model_chosen_by_training_alone():
    ours = jwins(
        BOWLS.gradient, X, RING, 20, wavelet=wavelets.haar(0), shares=np.full((20, NODES), 0.15), **LOCAL
    )
    other = partial_model(BOWLS.gradient, X, RING, 20, kept=3, averaging=False, **LOCAL)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=ROUND_OFF)
    np.testing.assert_allclose(ours.states["V"], other.states["V"], rtol=0, atol=ROUND_OFF)


def test_jwins_sends_the_stated_share_and_from_the_cut_on_everything():
    """What was sent has V = 0: 2 of the 20 coefficients of haar with 1 level, then all."""
    shares = np.array([[0.1] * NODES, [0.5] * NODES])
    ours = jwins(BOWLS.gradient, X, RING, 2, wavelet=wavelets.haar(1), shares=shares, whole=0.5, lr=0.05)
    assert ((ours.states["V"][1] == 0).sum(1) == 2).all()
    assert not ours.states["V"][2].any()


def test_jwins_with_a_tenth_to_three_tenths_ends_nearer_the_minimum_than_training_alone():
    shares = np.random.default_rng(0).choice([0.1, 0.2, 0.3], size=(200, NODES))
    ours = jwins(BOWLS.gradient, BOWLS.x0, TORUS, 200, wavelet=wavelets.sym2(2), shares=shares, lr=0.05)
    assert BOWLS.error(ours.last) < BOWLS.error(BOWLS.b) / 2


PYWAVELETS = {
    ("haar", 2): "1.75 3.5 -2.75 -1.5 2.12132034 2.47487373 2.82842712 0",
    ("sym2", 1): "0.35355339 -0.35819898 3.15195093 0.8492083 2.68632561 "
    "1.83711731 3.42346197 2.3628018 0.71979878 -3.16928852",
    ("sym2", 2): "0.2483575 0.46770872 2.48713929 3.32700318 0.4358575 2.26105716 0.35152223 -1.76165834 "
    "1.83711731 3.42346197 2.3628018 0.71979878 -3.16928852",
}
"""pywt.coeffs_to_array(pywt.wavedec([1, -2, 4, 0.5, 3, -1, 2.5], name, level=levels))[0], version 1.9.0."""


@pytest.mark.parametrize(("name", "levels"), PYWAVELETS)
def test_the_coefficients_are_those_of_pywavelets(name: str, levels: int):
    wavelet: Wavelet = getattr(wavelets, name)(levels)
    ours = wavelet.forward(np.array([1, -2, 4, 0.5, 3, -1, 2.5]))
    expected = np.array(PYWAVELETS[name, levels].split(), dtype=float)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=6e-8)


@pytest.mark.parametrize("make", [wavelets.haar, wavelets.sym2])
@pytest.mark.parametrize("levels", [1, 2, 4])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 33])
def test_a_vector_comes_back_from_its_coefficients(make, levels: int, size: int):
    x = np.random.default_rng(0).standard_normal(size)
    coefficients = make(levels).forward(x)
    assert coefficients.size >= size
    np.testing.assert_allclose(make(levels).back(coefficients, size), x, rtol=0, atol=5e-14)


def test_haar_keeps_the_norm_where_sizes_are_even():
    x = np.random.default_rng(0).standard_normal(32)
    assert np.linalg.norm(wavelets.haar(4).forward(x)) == pytest.approx(np.linalg.norm(x), rel=1e-14)
