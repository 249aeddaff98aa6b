"""Gradient tracking is exact: mean(y) = mean(g) whatever gets lost, and the limit is the optimum."""

import numpy as np
import pytest
from gossip_cases import (
    AWAY,
    LOSSY,
    MUTUAL,
    RING,
    TORUS,
    assert_any_blocks_and_wire,
    bowls,
    far,
    line,
    rows,
    run,
    same_mean,
    scattered,
    weights,
)  # fmt: skip

from fedsparse.engine.faults import Faults
from fedsparse.graphs import Topology
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.strategies.gradient_tracking import GradientTracking
from fedsparse.topologies.exponential import Exponential
from fedsparse.topologies.one_peer_exponential import OnePeerExponential

ORDERS = pytest.mark.parametrize("order", ["atc", "cta"])


@ORDERS
@pytest.mark.parametrize("faults", [Faults(), LOSSY, MUTUAL, AWAY], ids=["none", "lossy", "mutual", "away"])
def test_the_trackers_have_the_mean_of_the_stored_gradients(order: str, faults: Faults):
    result = run(GradientTracking(order=order), bowls(noise=1.0), rounds=50, faults=faults)
    same_mean(rows(result, "y"), rows(result, "g"))


@ORDERS
def test_the_mean_model_moves_by_the_mean_of_the_stored_gradients(order: str):
    """Mean x <- mean x - η mean y, since columns of W sum to one."""
    strategy, problem = GradientTracking(order=order), bowls()
    before, after = (run(strategy, problem, rounds=r, starts=scattered()) for r in (7, 8))
    mean_y = rows(before, "y").mean(0) if order == "atc" else rows(after, "g").mean(0)
    moved = rows(after).mean(0) - rows(before).mean(0)
    np.testing.assert_allclose(moved, -0.05 * mean_y, rtol=0, atol=1e-14)


def test_the_first_step_is_along_the_own_gradient():
    """Y = g at first, not W g: x <- W (x - η g) for atc, x <- W x - η g for cta."""
    problem, x, W = bowls(), scattered(), weights(RING)
    g = problem.gradients(x).numpy()
    expected = {"atc": W @ (x.numpy() - 0.05 * g), "cta": W @ x.numpy() - 0.05 * g}
    for order, wanted in expected.items():
        found = rows(run(GradientTracking(order=order), problem, rounds=1, starts=x))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14)


@ORDERS
@pytest.mark.parametrize("graph", [Exponential(), OnePeerExponential()], ids=lambda g: g.name)
def test_reaches_the_optimum_where_dpsgd_stays_away(order: str, graph: Topology):
    """On directed graphs, too, and on those that change."""
    problem = line()
    assert far(run(GradientTracking(order=order), problem, graph, 300), problem) < 1e-6
    assert far(run(DPSGD(lr=0.05), problem, graph, 100), problem) > 0.05


@pytest.mark.slow
@ORDERS
@pytest.mark.parametrize("faults", [LOSSY, MUTUAL, AWAY], ids=["lossy", "mutual", "away"])
def test_reaches_the_optimum_whatever_gets_lost(order: str, faults: Faults):
    problem = line()
    assert far(run(GradientTracking(order=order), problem, TORUS, 400, faults=faults), problem) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(("order", "end"), [("atc", 5.4e-10), ("cta", 2.3e-9)])
def test_is_as_far_as_the_oracle_after_2000_rounds(order: str, end: float):
    """On the scalar ring of 16 with η = 0.1, computed with an independent NumPy transcription."""
    problem = line()
    assert far(run(GradientTracking(lr=0.1, order=order), problem, rounds=2000), problem) == pytest.approx(
        end, rel=0.02
    )


@pytest.mark.slow
def test_is_as_far_as_the_oracle_after_500_rounds():
    """1.2e-2 with atc, computed with an independent NumPy transcription."""
    problem = line()
    assert far(run(GradientTracking(lr=0.1), problem, rounds=500), problem) == pytest.approx(1.2e-2, rel=0.05)


def test_the_gradient_before_the_first_round_has_another_minibatch():
    """Else noise of the first two gradients would cancel in y."""
    quiet, noisy = (run(GradientTracking(), bowls(noise=noise), rounds=1) for noise in (0.0, 1.0))
    first = (rows(quiet) - rows(noisy)) / 0.05  # W times the noise of the first gradients
    second = rows(noisy, "g") - rows(quiet, "g") + bowls().a.numpy() * (rows(quiet) - rows(noisy))
    assert abs(np.corrcoef(first.ravel(), (weights(RING) @ second).ravel())[0, 1]) < 0.2


@ORDERS
def test_same_bits_for_any_blocks_and_on_the_wire(order: str):
    strategy = GradientTracking(order=order)
    assert_any_blocks_and_wire(lambda **o: run(strategy, bowls(noise=0.1), rounds=3, faults=AWAY, **o))


@ORDERS
def test_a_round_costs_two_vectors_a_link(order: str):
    traffic = run(GradientTracking(order=order), bowls(), rounds=3).history[-1].traffic
    assert traffic["up_dense_bytes"] == 2 * 2 * 16 * 20 * 8
