"""Variance-corrected averaging reproduces known numbers and theory; plain averaging of independent models does not."""

import networkx as nx
import numpy as np
import pytest

from . import d_psgd, perceptron, variance_corrected
from .gossip_oracle import NODES, RING, bowls, cloud, drawn_losses
from .oracle import ROUND_OFF, printed
from .toys import Array
from .variance import corrected

EIGHT = nx.to_numpy_array(nx.random_regular_graph(8, 50, seed=0), nodelist=range(50)) / 8
HALF = 0.5 * np.eye(50) + 0.5 * EIGHT
THREE = np.array([[1.0, 2.0, 3.0, 4.0], [4.0, 1.0, 3.0, 0.0], [0.0, 5.0, 1.0, 2.0]])
WHOLE = [slice(None)]


def correlated(models: int, rho: float, size: int = 20_000) -> Array:
    """Models with entries of variance 1 and pairwise correlation rho, [models, size]."""
    rng = np.random.default_rng(0)
    return np.sqrt(rho) * rng.standard_normal(size) + np.sqrt(1 - rho) * rng.standard_normal((models, size))


@pytest.mark.parametrize(
    ("models", "rho", "share"),
    [
        (2, 0, 0.5),
        (4, 0, 0.25),
        (8, 0, 0.125),
        (50, 0, 0.02),
        (4, 0.5, 0.625),
        (8, 0.2, 0.3),
        (8, 0.9, 0.9125),
        (50, 0.1, 0.118),
    ],
)
def test_averaging_independent_models_makes_the_variance_vanish(models: int, rho: float, share: float):
    """(1 + (m - 1) rho) / m of the variance is left."""
    assert correlated(models, rho).mean(0).var() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(("others", "rho", "share"), [(8, 0, 0.28125), (8, 0.5, 0.640625), (1, 0, 0.5)])
def test_half_of_the_own_model_keeps_some_variance(others: int, rho: float, share: float):
    """b^2 + (1 - b)^2 (1 + (m - 1) rho) / m + 2 b (1 - b) rho with b = 1/2 is left."""
    x = correlated(others + 1, rho)
    W = np.full((others + 1, others + 1), 1 / (others + 1))
    ours = variance_corrected(None, x, W, 1, tensors=[])
    assert ours.last[0].var() == pytest.approx(share, abs=0.01)


def test_three_models_of_four_entries_give_the_stated_one():
    """Variances 1.25, 2.5, 3.5 of the models and 5/36 of their mean (5/3, 8/3, 7/3, 2)."""
    mean, target = THREE.mean(0), THREE.var(1).mean()
    assert list(THREE.var(1)) == pytest.approx([1.25, 2.5, 3.5], rel=1e-14)
    assert target == pytest.approx(29 / 12, rel=1e-14)
    assert mean.var() == pytest.approx(5 / 36, rel=1e-14)
    assert np.sqrt(target / mean.var()) == printed("4.171331")
    ours = corrected(mean, target)
    assert list(ours) == printed(".081001", "4.252332", "2.861888", "1.471445")
    assert ours.mean() == pytest.approx(13 / 6, rel=1e-14)


def test_the_stated_model_comes_out_of_a_round_without_the_own_one():
    """Node 3 hears the three, and beta is 0."""
    x = np.vstack([THREE, np.zeros(4)])
    W = np.eye(4)
    W[3] = [0.25, 0.25, 0.25, 0.25]
    ours = variance_corrected(None, x, W, 1, tensors=WHOLE, beta=0.0)
    assert list(ours.last[3]) == printed(".081001", "4.252332", "2.861888", "1.471445")
    np.testing.assert_array_equal(ours.last[:3], THREE)


def test_sample_variances_with_a_small_constant_give_another_factor():
    target, mean = THREE.var(1, ddof=1).mean(), THREE.mean(0).var(ddof=1)
    assert np.sqrt((target + 1e-4) / (mean + 1e-4)) == printed("4.170270")


@pytest.mark.parametrize(
    ("target", "factor"), [(1e-2, "2.888"), (0.00385, "2.736"), (1e-4, "1.342"), (1e-5, "1.043")]
)
def test_a_constant_of_a_ten_thousandth_under_the_root_spoils_the_correction(target: float, factor: str):
    """The factor should be 3 each time, and is 3 without the constant."""
    y = np.sqrt(target / 9) * np.array([1.0, -1.0])
    assert np.sqrt((target + 1e-4) / (y.var() + 1e-4)) == printed(factor)
    np.testing.assert_allclose(corrected(y, target), 3 * y, rtol=1e-13)


@pytest.mark.parametrize("flat", [np.ones(4), np.array([1.0, 1.0 + 1e-7])])
def test_a_tensor_without_variance_stays(flat: Array):
    np.testing.assert_array_equal(corrected(flat, 1.0), flat)
    np.testing.assert_array_equal(corrected(THREE[0], 0.0), THREE[0])


def test_plain_averaging_leaves_the_stated_shares_of_the_variance():
    """trace(W^t W^t') / n on a random 8-regular graph of 50 nodes; the first is the same on any of them."""
    shares = [
        np.trace(np.linalg.matrix_power(HALF, t) @ np.linalg.matrix_power(HALF, t).T) / 50
        for t in (1, 2, 3, 5, 8, 12)
    ]
    assert shares == printed("0.28125", ".11597", ".06183", ".03014", ".02158", ".02016")


def test_corrected_averaging_keeps_the_variance_and_comes_to_the_same_agreement():
    """With equally many neighbours for all each round only averages the variances."""
    x = np.random.default_rng(0).standard_normal((50, 1000))
    ours = variance_corrected(None, x, EIGHT, 12, tensors=WHOLE)
    plain = d_psgd(lambda i, x: 0 * x, x, HALF, 12, lr=0.0)
    np.testing.assert_allclose(ours.x.var(2).mean(1), x.var(1).mean(), rtol=1e-12)
    assert plain.last.var(1).mean() == pytest.approx(0.0202, abs=0.001)
    assert cosine(ours.last) == pytest.approx(cosine(plain.last), abs=1e-3)
    assert cosine(ours.last) == pytest.approx(0.990, abs=0.005)


def cosine(x: Array) -> float:
    """Mean cosine between two nodes' models."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return float(((unit @ unit.T).sum() - len(x)) / (len(x) * (len(x) - 1)))


def test_equal_models_stay():
    same = np.repeat(cloud()[:1], NODES, axis=0)
    ours = variance_corrected(None, same, RING, 5, tensors=[slice(0, 8), slice(8, 20)])
    np.testing.assert_allclose(ours.last, same, rtol=0, atol=3e-15 * 5)


def test_one_neighbour_and_no_own_share_give_the_neighbour():
    ours = variance_corrected(None, cloud(2), np.full((2, 2), 0.5), 1, tensors=WHOLE, beta=0.0)
    np.testing.assert_allclose(ours.last, cloud(2)[::-1], rtol=0, atol=ROUND_OFF)


def test_a_larger_scale_goes_through():
    small, large = (variance_corrected(None, c * cloud(), RING, 3, tensors=WHOLE).last for c in (1.0, 7.0))
    np.testing.assert_allclose(large, 7 * small, rtol=1e-12)


def test_each_tensor_is_corrected_by_itself():
    """With tensors of different scales: both keep their mean variance, and entries of none are averaged only."""
    x = cloud() * np.repeat([1.0, 100.0, 1.0], [8, 8, 4])
    ours = variance_corrected(None, x, RING, 1, tensors=[slice(0, 8), slice(8, 16)])
    plain = 0.5 * x + 0.25 * (np.roll(x, 1, 0) + np.roll(x, -1, 0))
    for tensor in (slice(0, 8), slice(8, 16)):
        others = (np.roll(x, 1, 0)[:, tensor].var(1) + np.roll(x, -1, 0)[:, tensor].var(1)) / 2
        np.testing.assert_allclose(ours.last[:, tensor].var(1), others, rtol=1e-12)
        np.testing.assert_allclose(ours.last[:, tensor].mean(1), plain[:, tensor].mean(1), rtol=1e-12)
    np.testing.assert_allclose(ours.last[:, 16:], plain[:, 16:], rtol=0, atol=ROUND_OFF)


@pytest.mark.parametrize("target", ["others", "self", "follow_beta"])
def test_the_variance_becomes_the_target(target: str):
    x, beta = cloud() * np.linspace(1, 2, NODES)[:, None], 0.3
    ours = variance_corrected(None, x, RING, 1, tensors=WHOLE, beta=beta, target=target)
    own = x.var(1)
    others = (np.roll(own, 1) + np.roll(own, -1)) / 2
    expected = {"others": others, "self": own, "follow_beta": beta * own + (1 - beta) * others}[target]
    np.testing.assert_allclose(ours.last.var(1), expected, rtol=1e-12)


def test_half_a_correction_takes_half_of_the_factor():
    plain, half, whole = (
        variance_corrected(None, cloud(), RING, 1, tensors=WHOLE, partial=p).last for p in (0.0, 0.5, 1.0)
    )
    np.testing.assert_allclose(half, (plain + whole) / 2, rtol=0, atol=ROUND_OFF)


def test_inactive_entries_count_for_nothing():
    """With one mask for all it is the correction of the active entries alone."""
    mask = np.random.default_rng(0).random(20) < 0.4
    x = cloud() * mask
    masks = np.broadcast_to(mask, x.shape)
    ours = variance_corrected(None, x, RING, 3, tensors=WHOLE, masks=masks)
    alone = variance_corrected(None, x[:, mask], RING, 3, tensors=WHOLE)
    np.testing.assert_allclose(ours.last[:, mask], alone.last, rtol=0, atol=ROUND_OFF)
    assert not ours.last[:, ~mask].any()


def test_without_correction_it_is_d_psgd():
    W = np.diag(np.full(NODES, 0.5)) + 0.25 * (np.roll(np.eye(NODES), 1, 0) + np.roll(np.eye(NODES), -1, 0))
    ours = variance_corrected(bowls().gradient, cloud(), RING, 10, tensors=[], lr=0.05, steps=2)
    other = d_psgd(bowls().gradient, cloud(), W, 10, lr=0.05, steps=2)
    np.testing.assert_allclose(ours.x, other.x, rtol=0, atol=5e-14)


def test_who_hears_nothing_stays_and_others_take_the_mean_of_what_arrived():
    lost = drawn_losses(1, 0.0, 0)
    lost[0, 5, :] = True
    lost[0, 8, 7] = True
    ours = variance_corrected(None, cloud(), RING, 1, tensors=[], lost=lost)
    np.testing.assert_array_equal(ours.last[5], cloud()[5])
    np.testing.assert_allclose(ours.last[8], (cloud()[8] + cloud()[9]) / 2, rtol=0, atol=ROUND_OFF)


def test_the_perceptron_has_the_gradient_of_its_loss():
    x, learners = perceptron.xavier(0), perceptron.Learners(2, 0)
    images, labels = learners.images[:8], learners.labels[:8]

    def loss(x: Array) -> float:
        scores = perceptron.activations(x, images)[-1]
        return float((np.log(np.exp(scores).sum(1)) - scores[np.arange(8), labels]).mean())

    along = np.random.default_rng(0).standard_normal(x.size)
    slope = (loss(x + 1e-5 * along) - loss(x - 1e-5 * along)) / 2e-5
    assert perceptron.gradient(x, images, labels) @ along == pytest.approx(slope, rel=1e-7)


def accuracy(W: Array, rounds: int, skew: float | None, *, correct: bool, same_start: bool = False) -> float:
    """Mean test accuracy of 32 nodes that average after each step of 0.05."""
    learners = perceptron.Learners(32, seed=1, skew=skew)
    x = np.stack([perceptron.xavier(0 if same_start else i) for i in range(32)])
    weights = [cut for cut, _ in perceptron.tensors()] if correct else []
    ours = variance_corrected(learners.direction, x, W, rounds, tensors=weights, lr=0.05)
    return learners.accuracy(ours.last)


@pytest.mark.slow
@pytest.mark.parametrize("skew", [None, 0.5])
def test_nodes_with_starts_of_their_own_learn_only_if_the_variance_is_corrected(skew: float | None):
    """60 rounds on a random 6-regular graph, digits dealt out evenly, or by labels drawn from Dirichlet(0.5).

    Accuracies alone .76 and .51, plain .10 and .10, corrected .95 and .94, from a common start .94 and .93.
    """
    six = nx.to_numpy_array(nx.random_regular_graph(6, 32, seed=0), nodelist=range(32)) / 6
    alone, plain, ours, same = (
        accuracy(np.eye(32), 60, skew, correct=False),
        accuracy(six, 60, skew, correct=False),
        accuracy(six, 60, skew, correct=True),
        accuracy(six, 60, skew, correct=False, same_start=True),
    )
    assert plain < 0.2
    assert ours > plain + 0.5
    assert ours > alone
    assert ours > same - 0.05
