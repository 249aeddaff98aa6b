"""SCALLION is the reference's SCALLION: every iterate, the known numbers, its identities."""

import numpy as np
import pytest
from strategy_cases import (
    EXACT,
    PARTICIPATION,
    ReferenceRandK,
    assert_control_is_the_mean,
    assert_same_run,
    error,
    iterates,
    noisy,
    run,
)

from fedsparse.compress import QSGD, Identity, Natural, RandK, TopK
from fedsparse.data.quadratic import Quadratics
from fedsparse.errors import ConfigError
from fedsparse.schedule import Linear
from fedsparse.simulation import Result, simulate
from fedsparse.strategies.scaffold import Scaffold
from fedsparse.strategies.scallion import Scallion
from tests.reference import compressors, ef21, scallion
from tests.reference.oracle import LOCAL, Q, everybody, printed, rand4, sampled


def ours(cohorts: list[np.ndarray], alpha: float | None = 0.1, server_lr: float = 1.0) -> Result:
    strategy = Scallion(alpha=alpha, server_lr=server_lr, uplink=ReferenceRandK.of(cohorts), **LOCAL)
    return run(strategy, cohorts)


@pytest.mark.parametrize("who", PARTICIPATION)
@pytest.mark.parametrize("alpha", [0.1, 0.05])
def test_every_iterate_is_the_references(alpha: float, who: str):
    cohorts = PARTICIPATION[who]
    given = {"alpha": alpha, "server_lr": 0.3}
    expected = scallion(Q.gradient, Q.x0, Q.clients, cohorts, compress=rand4(), **given, **LOCAL)
    assert_same_run(ours(cohorts, **given), expected)


def test_default_damping_is_that_of_the_compressor():
    cohorts = sampled(3, 20)
    expected = scallion(Q.gradient, Q.x0, Q.clients, cohorts, compress=rand4(), alpha=1 / (1 + 9), **LOCAL)
    assert_same_run(ours(cohorts, alpha=None), expected)


def test_a_scheduled_damping_that_ends_at_zero_moves_no_control():
    problem = Quadratics.drawn(clients=4, size=3, spread=1.0, noise=0.0, seed=0)
    one, two = (
        simulate(Scallion(alpha=Linear(0.5, 0.0), uplink=Identity(), **LOCAL), problem, rounds=n)
        for n in (1, 2)
    )
    assert one.clients["c"].any()
    assert two.clients["c"].equal(one.clients["c"])


def test_every_iterate_is_the_references_with_noisy_gradients():
    cohorts = sampled(3, 60)
    gradient = noisy(Q, cohorts, 5, noise=0.5)
    expected = scallion(gradient, Q.x0, Q.clients, cohorts, compress=rand4(), alpha=0.1, **LOCAL)
    strategy = Scallion(alpha=0.1, uplink=ReferenceRandK.of(cohorts), **LOCAL)
    assert_same_run(run(strategy, cohorts, noise=0.5), expected)


def test_without_compression_and_damping_it_is_scaffold():
    cohorts = sampled(2, 60)
    plain = run(Scaffold(**LOCAL), cohorts)
    np.testing.assert_allclose(
        iterates(run(Scallion(alpha=1.0, uplink=Identity(), **LOCAL), cohorts)),
        iterates(plain),
        rtol=0,
        atol=1e-13,
    )


def test_one_step_of_all_clients_is_ef21():
    cohorts = everybody(100)
    strategy = Scallion(lr=0.05, steps=1, server_lr=0.4, alpha=0.1, uplink=ReferenceRandK.of(cohorts))
    other = ef21(Q.gradient, Q.x0, Q.clients, cohorts, lr=0.02, compress=compressors.scaled(0.1, rand4()))
    np.testing.assert_allclose(iterates(run(strategy, cohorts)), other.x, rtol=0, atol=EXACT)


@pytest.mark.parametrize("size", [1, 3, 10])
@pytest.mark.parametrize("uplink", [RandK(0.1), QSGD(4), Natural()])
def test_server_control_stays_the_mean_of_the_clients(size: int, uplink: object):
    assert_control_is_the_mean(run(Scallion(uplink=uplink, server_lr=0.3, **LOCAL), sampled(size, 30)))


def test_two_clients_match_the_stated_error_after_300_rounds():
    assert error(ours(sampled(2, 300), server_lr=0.1)) == printed("7.2836e-02")


@pytest.mark.slow
@pytest.mark.parametrize(("server_lr", "stated"), [(1.0, "1.4e-03"), (0.3, "2.1e-06"), (0.1, "9.5e-08")])
def test_two_clients_match_the_stated_error(server_lr: float, stated: str):
    assert error(ours(sampled(2, 2000), server_lr=server_lr)) == printed(stated)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.1, 0.05])
def test_is_exact_below_the_stable_damping(alpha: float):
    assert error(ours(sampled(10, 2000), alpha)) < 1e-14


@pytest.mark.slow
def test_diverges_at_the_stable_damping():
    assert error(ours(sampled(10, 2000), 0.2)) == printed("4e3")


def test_explodes_far_above_the_stable_damping():
    assert error(ours(sampled(10, 100), 0.5)) > 1e6


def test_refuses_a_biased_uplink():
    with pytest.raises(ConfigError, match="unbiased"):
        run(Scallion(uplink=TopK(0.1), **LOCAL), everybody(1))
