"""FedProx is the reference's FedProx."""

import numpy as np
import pytest
from strategy_cases import PARTICIPATION, assert_same_bits, assert_same_run, error, noisy, run

from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.fedprox import FedProx
from tests.reference import fedavg_fixed_point, fedprox
from tests.reference.oracle import LOCAL, Q, everybody, sampled


@pytest.mark.parametrize("who", PARTICIPATION)
def test_every_iterate_is_the_references(who: str):
    cohorts = PARTICIPATION[who]
    expected = fedprox(Q.gradient, Q.x0, cohorts, mu=0.7, server_lr=0.4, **LOCAL)
    assert_same_run(run(FedProx(mu=0.7, server_lr=0.4, **LOCAL), cohorts), expected)


def test_every_iterate_is_the_references_with_noisy_gradients_and_unequal_weights():
    cohorts, weights = sampled(3, 60), np.arange(1.0, 11.0)
    expected = fedprox(noisy(Q, cohorts, 5, noise=0.5), Q.x0, cohorts, mu=0.7, weights=weights, **LOCAL)
    assert_same_run(run(FedProx(mu=0.7, **LOCAL), cohorts, noise=0.5, sizes=range(1, 11)), expected)


def test_no_pull_is_fedavg_to_the_last_bit():
    cohorts = sampled(3, 60)
    assert_same_bits(run(FedProx(mu=0.0, **LOCAL), cohorts), run(FedAvg(**LOCAL), cohorts))


@pytest.mark.parametrize("mu", [0.1, 1.0])
def test_ends_at_its_closed_form_fixed_point(mu: float):
    result = run(FedProx(mu=mu, **LOCAL), everybody(200))
    np.testing.assert_allclose(result.x.numpy(), fedavg_fixed_point(Q, prox=mu, **LOCAL), rtol=1e-6)


def test_the_pull_shrinks_the_bias_and_leaves_some():
    biases = [Q.error(fedavg_fixed_point(Q, prox=mu, **LOCAL)) for mu in (0.0, 1.0)]
    ours = error(run(FedProx(mu=1.0, **LOCAL), everybody(200)))
    assert 0.01 < ours < biases[0]
    assert ours == pytest.approx(biases[1], rel=1e-6)
