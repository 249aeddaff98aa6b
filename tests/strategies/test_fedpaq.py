"""FedPAQ is the reference's FedPAQ, and FedAvg where nothing is compressed."""

import numpy as np
import pytest
from strategy_cases import EXACT, PARTICIPATION, assert_same_run, drawn, error, iterates, noisy, run

from fedsparse.compress import QSGD, Compressor, Identity, Natural, RandK, TopK
from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError
from fedsparse.schedule import InverseSqrt
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.fedpaq import FedPAQ
from tests.reference import fedpaq
from tests.reference.oracle import LOCAL, Q, everybody, sampled


@pytest.mark.parametrize("uplink", [RandK(0.1), QSGD(4), Natural()], ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("who", PARTICIPATION)
def test_every_iterate_is_the_references(who: str, uplink: Compressor):
    cohorts = PARTICIPATION[who]
    expected = fedpaq(Q.gradient, Q.x0, cohorts, compress=drawn(uplink), **LOCAL)
    assert_same_run(run(FedPAQ(uplink=uplink, **LOCAL), cohorts), expected)


def test_every_iterate_is_the_references_with_noisy_gradients():
    cohorts = sampled(3, 60)
    expected = fedpaq(noisy(Q, cohorts, 5, noise=0.5), Q.x0, cohorts, compress=drawn(QSGD(4)), **LOCAL)
    assert_same_run(run(FedPAQ(uplink=QSGD(4), **LOCAL), cohorts, noise=0.5), expected)


def test_every_iterate_is_the_references_with_steps_that_shrink():
    shrinking, cohorts = InverseSqrt(0.05, 5.0), everybody(60)
    rates = np.array([shrinking.at(t, 60) for t in range(60)])
    expected = fedpaq(Q.gradient, Q.x0, cohorts, lr=rates, steps=5, compress=drawn(QSGD(4)))
    assert_same_run(run(FedPAQ(lr=shrinking, steps=5, uplink=QSGD(4)), cohorts), expected)


def test_without_compression_it_is_fedavg_to_the_last_bit():
    cohorts = sampled(3, 20)
    plain, ours = FedAvg(weighting="one", **LOCAL), FedPAQ(uplink=Identity(), **LOCAL)
    np.testing.assert_array_equal(iterates(run(ours, cohorts)), iterates(run(plain, cohorts)))


def test_every_iterate_is_that_of_the_clients_whose_messages_arrived():
    faults = Faults(uplink_loss=0.2)
    lost = np.stack([faults.lost("up", 0, t, "train", 0, range(10)) for t in range(60)])
    arrived = [np.flatnonzero(~row) for row in lost]
    expected = fedpaq(Q.gradient, Q.x0, arrived, compress=drawn(QSGD(4)), **LOCAL)
    assert_same_run(run(FedPAQ(uplink=QSGD(4), **LOCAL), everybody(60), faults=faults), expected)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_coarser_levels_leave_it_farther_away(seed: int):
    """Fedavg's fixed point is at 0.0555; sixteen levels add little to it, one level much."""
    fine, coarse = (
        error(run(FedPAQ(uplink=QSGD(levels), **LOCAL), everybody(150), seed=seed)) for levels in (16, 1)
    )
    assert 0.03 < fine < 0.2 < coarse


def test_clients_weigh_alike_whatever_they_hold():
    uneven = run(FedPAQ(uplink=QSGD(4), **LOCAL), sampled(3, 10), sizes=range(1, 11))
    even = run(FedPAQ(uplink=QSGD(4), **LOCAL), sampled(3, 10))
    np.testing.assert_allclose(iterates(uneven), iterates(even), rtol=0, atol=EXACT)


def test_refuses_a_biased_uplink():
    with pytest.raises(ConfigError, match="unbiased"):
        run(FedPAQ(uplink=TopK(0.1), **LOCAL), everybody(1))
