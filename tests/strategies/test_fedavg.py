"""FedAvg is the reference's FedAvg: every iterate, the known numbers, the closed-form fixed point."""

import numpy as np
import pytest
from strategy_cases import EXACT, PARTICIPATION, ReferenceRandK, assert_same_run, error, iterates, noisy, run

from fedsparse.compress import TopK
from fedsparse.errors import ConfigError
from fedsparse.strategies.fedavg import FedAvg
from tests.reference import compressors, fedavg, fedavg_fixed_point
from tests.reference.oracle import LOCAL, Q, everybody, printed, sampled


@pytest.mark.parametrize("who", PARTICIPATION)
def test_every_iterate_is_the_references(who: str):
    cohorts = PARTICIPATION[who]
    assert_same_run(run(FedAvg(**LOCAL), cohorts), fedavg(Q.gradient, Q.x0, cohorts, **LOCAL))


def test_every_iterate_is_the_references_with_a_server_step():
    cohorts = sampled(3, 60)
    expected = fedavg(Q.gradient, Q.x0, cohorts, server_lr=0.4, **LOCAL)
    assert_same_run(run(FedAvg(server_lr=0.4, **LOCAL), cohorts), expected)


def test_every_iterate_is_the_references_with_noisy_gradients():
    cohorts = sampled(3, 60)
    expected = fedavg(noisy(Q, cohorts, 5, noise=0.5), Q.x0, cohorts, **LOCAL)
    assert_same_run(run(FedAvg(**LOCAL), cohorts, noise=0.5), expected)


@pytest.mark.parametrize(("weighting", "weights"), [("examples", np.arange(1.0, 11.0)), ("one", None)])
def test_clients_weigh_by_their_examples_or_alike(weighting: str, weights: np.ndarray | None):
    cohorts = sampled(3, 20)
    expected = fedavg(Q.gradient, Q.x0, cohorts, weights=weights, **LOCAL)
    assert_same_run(run(FedAvg(weighting=weighting, **LOCAL), cohorts, sizes=range(1, 11)), expected)


def test_unbiased_compression_is_fedpaq():
    cohorts = sampled(3, 60)
    expected = fedavg(Q.gradient, Q.x0, cohorts, compress=compressors.rand_k(4, 11), **LOCAL)
    assert_same_run(run(FedAvg(uplink=ReferenceRandK.of(cohorts), **LOCAL), cohorts), expected)


def test_local_steps_have_heavy_ball_momentum_and_decay():
    result = run(FedAvg(lr=0.02, steps=3, momentum=0.9, weight_decay=0.1), everybody(5))
    x = Q.x0
    for _ in range(5):
        y, m = np.tile(x, (10, 1)), 0.0
        for _ in range(3):
            m = 0.9 * m + np.einsum("ijk,ik->ij", Q.H, y) - Q.b + 0.1 * y
            y = y - 0.02 * m
        x = y.mean(0)
    np.testing.assert_allclose(result.x.numpy(), x, rtol=0, atol=EXACT)


def test_one_step_of_all_clients_is_gradient_descent():
    x, expected = Q.x0, [Q.x0]
    for _ in range(60):
        x = x - 0.1 * Q.gradients(x).mean(0)
        expected.append(x)
    np.testing.assert_allclose(
        iterates(run(FedAvg(lr=0.1, steps=1), everybody(60))), expected, rtol=0, atol=EXACT
    )


def test_ends_at_the_closed_form_fixed_point_and_not_at_the_optimum():
    result = run(FedAvg(**LOCAL), sampled(10, 200))
    assert error(result) == printed("5.5534e-02")
    assert Q.error(fedavg_fixed_point(Q, **LOCAL)) == printed("5.553449e-02")
    np.testing.assert_allclose(result.x.numpy(), fedavg_fixed_point(Q, **LOCAL), rtol=1e-6)


@pytest.mark.slow
def test_two_clients_a_round_stall_far_away():
    assert error(run(FedAvg(**LOCAL), sampled(2, 2000))) == printed("0.59")


def test_refuses_a_biased_uplink():
    with pytest.raises(ConfigError, match="unbiased"):
        run(FedAvg(uplink=TopK(0.1), **LOCAL), everybody(1))
