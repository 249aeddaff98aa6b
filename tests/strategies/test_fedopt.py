"""FedAvgM, FedAdam, FedYogi and FedAdagrad are the reference's."""

import numpy as np
import pytest
from strategy_cases import EXACT, PARTICIPATION, assert_same_run, iterates, noisy, run

from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.fedopt import FedOpt
from tests.reference import Toy, fedavg_fixed_point, fedavgm, fedopt
from tests.reference.oracle import LOCAL, Q, everybody, sampled

ADAPTIVE = ("adam", "yogi", "adagrad")


@pytest.mark.parametrize("who", PARTICIPATION)
def test_every_iterate_of_momentum_is_the_references(who: str):
    cohorts = PARTICIPATION[who]
    expected = fedavgm(Q.gradient, Q.x0, cohorts, server_lr=0.1, momentum=0.8, **LOCAL)
    ours = FedOpt(optimizer="momentum", server_lr=0.1, beta1=0.8, **LOCAL)
    assert_same_run(run(ours, cohorts), expected)


@pytest.mark.parametrize("who", PARTICIPATION)
@pytest.mark.parametrize("rule", ADAPTIVE)
def test_every_iterate_is_the_references(rule: str, who: str):
    cohorts = PARTICIPATION[who]
    given = {"server_lr": 0.05, "beta1": 0.8, "beta2": 0.95, "tau": 0.01, **LOCAL}
    expected = fedopt(Q.gradient, Q.x0, cohorts, rule=rule, **given)
    assert_same_run(run(FedOpt(optimizer=rule, **given), cohorts), expected)


@pytest.mark.parametrize("rule", ADAPTIVE)
def test_defaults_are_the_papers(rule: str):
    cohorts = everybody(20)
    expected = fedopt(Q.gradient, Q.x0, cohorts, rule=rule, server_lr=0.03, **LOCAL)
    assert_same_run(run(FedOpt(optimizer=rule, **LOCAL), cohorts), expected)


def test_every_iterate_is_the_references_with_noisy_gradients_and_unequal_weights():
    cohorts, weights = sampled(3, 60), np.arange(1.0, 11.0)
    gradient = noisy(Q, cohorts, 5, noise=0.5)
    expected = fedopt(gradient, Q.x0, cohorts, rule="adam", server_lr=0.05, weights=weights, **LOCAL)
    ours = FedOpt(optimizer="adam", server_lr=0.05, **LOCAL)
    assert_same_run(run(ours, cohorts, noise=0.5, sizes=range(1, 11)), expected)


def test_momentum_without_memory_is_fedavg():
    cohorts = sampled(3, 60)
    ours = run(FedOpt(optimizer="momentum", beta1=0.0, server_lr=0.7, **LOCAL), cohorts)
    np.testing.assert_array_equal(iterates(ours), iterates(run(FedAvg(server_lr=0.7, **LOCAL), cohorts)))


@pytest.mark.parametrize(
    ("rule", "second_moments"),
    [
        ("adam", [0.99e-6 + 0.01 * 0.01, 0.99 * (0.99e-6 + 0.01 * 0.01) + 0.01 * 0.01]),
        ("yogi", [1e-6 + 0.01 * 0.01, 1e-6 + 0.02 * 0.01]),
        ("adagrad", [1e-6 + 0.01, 1e-6 + 0.02]),
    ],
)
def test_adaptive_steps_follow_their_second_moment(rule: str, second_moments: list[float]):
    """A constant change of 0.1 in one coordinate: D^2 = 0.01, m = 0.01, then 0.019."""
    flat = Toy(np.zeros((1, 1, 1)), np.array([[1.0]]), np.zeros(1))
    result = run(FedOpt(optimizer=rule, lr=0.1, steps=1, server_lr=0.3), [np.array([0])] * 2, toy=flat)
    expected = 0.3 * np.array([0.01, 0.019]) / (np.sqrt(second_moments) + 1e-3)
    np.testing.assert_allclose(np.diff(iterates(result, flat)[:, 0]), expected, rtol=EXACT)


def test_momentum_is_not_damped():
    """A change that never changes makes the k-th step 1 + b + ... + b^(k-1) times the first."""
    flat = Toy(np.zeros((1, 2, 2)), np.array([[1.0, -2.0]]), np.zeros(2))
    ours = FedOpt(optimizer="momentum", lr=0.1, steps=1, server_lr=1.0)
    result = run(ours, [np.array([0])] * 3, toy=flat)
    np.testing.assert_allclose(np.diff(iterates(result, flat)[:, 0]), [0.1, 0.19, 0.271], rtol=EXACT)


def test_momentum_ends_at_the_fixed_point_of_fedavg():
    result = run(FedOpt(optimizer="momentum", server_lr=0.1, **LOCAL), everybody(300))
    np.testing.assert_allclose(result.x.numpy(), fedavg_fixed_point(Q, **LOCAL), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["adam", "yogi"])
def test_adaptive_steps_settle_at_the_fixed_point_of_fedavg_with_all_clients_and_exact_gradients(rule: str):
    result = run(FedOpt(optimizer=rule, server_lr=0.03, **LOCAL), everybody(300))
    np.testing.assert_allclose(result.x.numpy(), fedavg_fixed_point(Q, **LOCAL), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["adam", "yogi"])
def test_adaptive_steps_do_not_settle_with_three_clients_a_round(rule: str):
    x = iterates(run(FedOpt(optimizer=rule, server_lr=0.03, **LOCAL), sampled(3, 300)))
    assert np.linalg.norm(np.diff(x[200:], axis=0), axis=1).min() > 1e-3
