"""Fed-EF is the reference's Fed-EF, with one step of all clients EF14, and has its floors."""

import numpy as np
import pytest
from strategy_cases import PARTICIPATION, assert_same_run, error, iterates, noisy, rows, run

from fedsparse.compress import Identity, RandK, TopK
from fedsparse.errors import ConfigError
from fedsparse.strategies.fed_ef import FedEF
from fedsparse.strategies.fedavg import FedAvg
from tests.reference import fed_ef
from tests.reference.oracle import LOCAL, Q, everybody, printed, sampled, top4

NAMES = {"e": "memory"}
"""The reference keeps x - y, the product y - x: the memories have opposite signs."""


@pytest.mark.parametrize("who", PARTICIPATION)
def test_every_iterate_is_the_references(who: str):
    cohorts = PARTICIPATION[who]
    expected = fed_ef(Q.gradient, Q.x0, Q.clients, cohorts, compress=top4(), server_lr=0.4, **LOCAL)
    expected.clients["e"] *= -1
    assert_same_run(run(FedEF(uplink=TopK(0.1), server_lr=0.4, **LOCAL), cohorts), expected, NAMES)


def test_every_iterate_is_the_references_with_noisy_gradients_and_unequal_weights():
    cohorts, weights = sampled(3, 60), np.arange(1.0, 11.0)
    gradient = noisy(Q, cohorts, 5, noise=0.5)
    expected = fed_ef(gradient, Q.x0, Q.clients, cohorts, compress=top4(), weights=weights, **LOCAL)
    expected.clients["e"] *= -1
    ours = run(FedEF(uplink=TopK(0.1), **LOCAL), cohorts, noise=0.5, sizes=range(1, 11))
    assert_same_run(ours, expected, NAMES)


def test_absentees_keep_their_memory():
    cohorts = [np.array([0, 1]), np.array([2, 3])]
    first, both = (rows(run(FedEF(uplink=TopK(0.1), **LOCAL), cohorts[:n]), "memory") for n in (1, 2))
    np.testing.assert_array_equal(both[:2], first[:2])
    assert both[2:4].any()
    assert not both[4:].any()


def test_without_compression_it_is_fedavg_to_the_last_bit():
    cohorts = sampled(3, 20)
    result = run(FedEF(uplink=Identity(), **LOCAL), cohorts)
    np.testing.assert_array_equal(iterates(result), iterates(run(FedAvg(**LOCAL), cohorts)))
    assert not rows(result, "memory").any()


@pytest.mark.slow
@pytest.mark.parametrize(("lr", "floor"), [(0.3, "1.17"), (0.1, "0.425"), (0.03, "0.087"), (0.01, "0.039")])
def test_has_a_floor_that_shrinks_with_the_step(lr: float, floor: str):
    assert error(run(FedEF(lr=lr, steps=1, uplink=TopK(0.1)), everybody(2000))) == printed(floor)


def test_refuses_an_uplink_that_is_not_contractive():
    with pytest.raises(ConfigError, match="contractive"):
        run(FedEF(uplink=RandK(0.1), **LOCAL), everybody(1))
