"""BEER tracks the mean gradient through any compression, and reaches the optimum where CHOCO-SGD stays away."""

import numpy as np
import pytest
from gossip_cases import (
    AWAY,
    LOSSY,
    RING,
    TORUS,
    assert_any_blocks_and_wire,
    bowls,
    rms,
    rows,
    run,
    same_mean,
    scattered,
    weights,
)  # fmt: skip

from fedsparse.compress import Compressor, Identity, RandK, TopK
from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError
from fedsparse.strategies.beer import Beer
from fedsparse.strategies.choco import Choco

TOP2 = TopK(0.1)
FAULTS = pytest.mark.parametrize("faults", [Faults(), LOSSY], ids=["none", "lossy"])
UPLINKS = pytest.mark.parametrize(
    "uplink", [Identity(), TOP2, RandK(0.1, unbiased=False)], ids=["identity", "topk", "randk"]
)


@FAULTS
@UPLINKS
def test_the_trackers_have_the_mean_of_the_gradients(uplink: Compressor, faults: Faults):
    result = run(Beer(uplink=uplink), bowls(noise=1.0), rounds=40, faults=faults)
    same_mean(rows(result, "v"), rows(result, "g"))


@FAULTS
def test_the_mean_model_moves_by_the_mean_of_the_trackers(faults: Faults):
    before, after = (run(Beer(), bowls(), rounds=r, starts=scattered(), faults=faults) for r in (7, 8))
    expected = rows(before).mean(0) - 0.02 * rows(before, "v").mean(0)
    np.testing.assert_allclose(rows(after).mean(0), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("copy", ["h", "G"])
def test_a_gap_is_what_copies_lack_of_their_neighbours(copy: str):
    """(W - I) h, which is kept as one vector for any number of neighbours."""
    result = run(Beer(), bowls(), TORUS, 30, starts=scattered())
    expected = weights(TORUS) @ rows(result, copy) - rows(result, copy)
    np.testing.assert_allclose(rows(result, f"gap_{copy}"), expected, rtol=0, atol=1e-13)


def test_begins_with_a_plain_step_and_the_own_gradients():
    """H = G = 0 and v = g at first: x' = x - η g(x), v' = g(x')."""
    problem, x = bowls(), scattered()
    result = run(Beer(uplink=Identity()), problem, rounds=1, starts=x)
    expected = x - 0.02 * problem.gradients(x)
    np.testing.assert_allclose(rows(result), expected.numpy(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(rows(result, "v"), problem.gradients(expected).numpy(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(rows(result, "h"), expected.numpy(), rtol=0, atol=1e-14)


def test_without_compression_it_is_gradient_tracking_with_a_lazy_matrix():
    """From the second round on h = x and G = v: x' = V x - η v and v' = V v + g' - g with V = I + γ (W - I)."""
    problem, V = bowls(), np.eye(16) + 0.5 * (weights(RING) - np.eye(16))
    strategy = Beer(gamma=0.5, uplink=Identity())
    old = run(strategy, problem, rounds=5, starts=scattered())
    new = run(strategy, problem, rounds=6, starts=scattered())
    np.testing.assert_allclose(rows(new), V @ rows(old) - 0.02 * rows(old, "v"), rtol=0, atol=1e-13)
    expected = V @ rows(old, "v") + rows(new, "g") - rows(old, "g")
    np.testing.assert_allclose(rows(new, "v"), expected, rtol=0, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("faults", [Faults(), LOSSY], ids=["none", "lossy"])
def test_goes_on_towards_the_optimum_where_choco_stays_away(faults: Faults):
    problem = bowls()
    assert rms(run(Beer(uplink=TOP2), problem, TORUS, 300, faults=faults), problem) < 5e-3
    assert (
        rms(run(Choco(lr=0.02, gamma=0.1, uplink=TOP2), problem, TORUS, 300, faults=faults), problem) > 0.05
    )


@pytest.mark.slow
@pytest.mark.parametrize("faults", [Faults(), LOSSY], ids=["none", "lossy"])
def test_is_as_exact_as_the_oracle_after_1000_rounds(faults: Faults):
    """8.0e-9 in an independent NumPy transcription, on quadratics of its own."""
    problem = bowls()
    assert rms(run(Beer(uplink=TOP2), problem, TORUS, 1000, faults=faults), problem) < 1e-8


def test_refuses_an_uplink_that_may_enlarge_what_it_leaves_out():
    with pytest.raises(ConfigError, match="contractive"):
        run(Beer(uplink=RandK(0.1)), bowls(), rounds=1)


def test_same_bits_for_any_blocks_and_on_the_wire():
    strategy = Beer(uplink=RandK(0.1, unbiased=False))
    assert_any_blocks_and_wire(lambda **o: run(strategy, bowls(noise=0.1), rounds=3, faults=AWAY, **o))


def test_a_round_costs_two_compressed_vectors_a_link():
    """Of top-2: 2 values of 8 bytes, 2 indices in 2 bytes, and 5 of heads and counts."""
    traffic = run(Beer(uplink=TOP2), bowls(), rounds=2).history[-1].traffic
    assert traffic["up_dense_bytes"] == 2 * 2 * 16 * 20 * 8
    assert traffic["up_payload_bytes"] <= 2 * 2 * 16 * 24
