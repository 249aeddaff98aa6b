"""FedAvg and its kin, SCAFFOLD, EF14, EF21 reproduce known numbers, closed forms and identities."""

import numpy as np
import pytest

from . import (
    Toy,
    ef21,
    ef21_sgdm,
    fed_ef,
    fedavg,
    fedavg_fixed_point,
    fedavgm,
    fedopt,
    fedprox,
    scaffold,
)
from .oracle import LOCAL, ROUND_OFF, Q, everybody, printed, rand4, sampled, top4


def test_fedavg_ends_at_its_closed_form_fixed_point():
    run = fedavg(Q.gradient, Q.x0, sampled(10, 200), **LOCAL)
    assert Q.error(run.last) == printed("5.5534e-02")
    assert Q.error(fedavg_fixed_point(Q, **LOCAL)) == printed("5.553449e-02")
    np.testing.assert_allclose(run.last, fedavg_fixed_point(Q, **LOCAL), rtol=1e-6)


def test_fedavg_with_two_clients_stalls_far_away():
    assert Q.error(fedavg(Q.gradient, Q.x0, sampled(2, 2000), **LOCAL).last) == printed("0.59")


def test_fedavg_with_one_step_and_all_clients_is_gradient_descent():
    run, x = fedavg(Q.gradient, Q.x0, everybody(20), lr=0.1, steps=1), Q.x0
    for _ in range(20):
        x = x - 0.1 * Q.gradients(x).mean(0)
    np.testing.assert_allclose(run.last, x, rtol=0, atol=ROUND_OFF)


def test_fedavg_weighs_clients_by_their_share_of_the_cohort():
    weights, cohort = np.arange(1.0, 11.0), np.array([7, 2])
    run = fedavg(Q.gradient, Q.x0, [cohort], lr=0.1, steps=1, server_lr=0.5, weights=weights)
    expected = -0.5 * 0.1 * (8 * Q.gradient(7, Q.x0) + 3 * Q.gradient(2, Q.x0)) / 11
    np.testing.assert_allclose(run.last, expected, rtol=1e-12)


@pytest.mark.parametrize("mu", [0.0, 0.1, 1.0])
def test_fedprox_ends_at_its_closed_form_fixed_point(mu: float):
    run = fedprox(Q.gradient, Q.x0, everybody(300), mu=mu, **LOCAL)
    np.testing.assert_allclose(run.last, fedavg_fixed_point(Q, prox=mu, **LOCAL), rtol=1e-6)


def test_fedavgm_without_momentum_is_fedavg():
    run = fedavgm(Q.gradient, Q.x0, sampled(2, 20), server_lr=0.7, momentum=0.0, **LOCAL)
    plain = fedavg(Q.gradient, Q.x0, sampled(2, 20), server_lr=0.7, **LOCAL)
    np.testing.assert_allclose(run.x, plain.x, rtol=0, atol=ROUND_OFF)


def test_fedavgm_momentum_is_not_damped():
    """A difference that never changes makes the k-th step 1 + b + ... + b^(k-1) times the first."""
    flat = Toy(np.zeros((1, 2, 2)), np.array([[1.0, -2.0]]), np.zeros(2))
    run = fedavgm(flat.gradient, flat.x0, [np.array([0])] * 3, lr=0.1, steps=1, server_lr=1.0, momentum=0.9)
    np.testing.assert_allclose(np.diff(run.x[:, 0]), [0.1, 0.19, 0.271], rtol=1e-12)


@pytest.mark.parametrize(
    ("rule", "second_moments"),
    [
        ("adam", [0.99e-6 + 0.01 * 0.01, 0.99 * (0.99e-6 + 0.01 * 0.01) + 0.01 * 0.01]),
        ("yogi", [1e-6 + 0.01 * 0.01, 1e-6 + 0.02 * 0.01]),
        ("adagrad", [1e-6 + 0.01, 1e-6 + 0.02]),
    ],
)
def test_adaptive_servers_follow_their_second_moment(rule: str, second_moments: list[float]):
    """A constant difference of 0.1 in one coordinate: D^2 = 0.01, m = 0.01, then 0.019."""
    flat = Toy(np.zeros((1, 1, 1)), np.array([[1.0]]), np.zeros(1))
    run = fedopt(flat.gradient, flat.x0, [np.array([0])] * 2, rule=rule, lr=0.1, steps=1, server_lr=0.3)
    expected = 0.3 * np.array([0.01, 0.019]) / (np.sqrt(second_moments) + 1e-3)
    np.testing.assert_allclose(np.diff(run.x[:, 0]), expected, rtol=1e-12)


@pytest.mark.parametrize("option", [1, 2])
def test_scaffold_is_exact_under_partial_participation(option: int):
    run = scaffold(Q.gradient, Q.x0, Q.clients, sampled(2, 2000), option=option, **LOCAL)
    assert Q.error(run.last) < ROUND_OFF


def test_naive_compression_stalls():
    top = fedavg(Q.gradient, Q.x0, everybody(2000), lr=0.1, steps=1, compress=top4())
    rand = fedavg(Q.gradient, Q.x0, everybody(1500), lr=0.1, steps=1, compress=rand4(3))
    assert [Q.error(top.last), Q.error(rand.last)] == printed("1.09", "1.06")


@pytest.mark.parametrize(("lr", "floor"), [(0.3, "1.17"), (0.1, "0.425"), (0.03, "0.087"), (0.01, "0.039")])
def test_error_feedback_has_a_floor_that_shrinks_with_the_step(lr: float, floor: str):
    run = fed_ef(Q.gradient, Q.x0, Q.clients, everybody(2000), lr=lr, steps=1, compress=top4())
    assert Q.error(run.last) == printed(floor)


def test_fed_ef_absentees_keep_their_memory():
    rounds = [np.array([0, 1]), np.array([2, 3])]
    first = fed_ef(Q.gradient, Q.x0, Q.clients, rounds[:1], compress=top4(), **LOCAL).clients["e"]
    both = fed_ef(Q.gradient, Q.x0, Q.clients, rounds, compress=top4(), **LOCAL).clients["e"]
    np.testing.assert_array_equal(both[:2], first[:2])
    assert both[2:4].any()
    assert not both[4:].any()


def test_ef21_matches_the_stated_errors():
    full = Q.gradients(Q.x0)
    run = ef21(Q.gradient, Q.x0, Q.clients, everybody(2000), lr=0.1, compress=top4(), estimates=full)
    assert Q.error(run.x[200]) == printed("5.0e-15")
    assert Q.error(run.last) < ROUND_OFF


def test_ef21_sgdm_needs_a_step_that_shrinks_with_beta():
    full = Q.gradients(Q.x0)
    small, large = (
        ef21_sgdm(
            Q.gradient, Q.x0, Q.clients, everybody(2000), lr=lr, compress=top4(), beta=0.1, estimates=full
        )
        for lr in (0.1, 0.3)
    )
    assert Q.error(small.last) < ROUND_OFF
    assert Q.error(large.last) > 1e3
