"""EControl is the reference's EControl: every iterate, the known numbers, its identities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from feedback_cases import (
    ALL,
    FULL,
    MEMORY,
    SOME,
    arrived,
    assert_estimate_is_the_mean,
    descent,
    path,
    twice_at_first,
)
from strategy_cases import EXACT, assert_same_run, error, iterates, noisy, rows, run

from fedsparse.compress import QSGD, Identity, RandK, Scaled, Sign, TopK
from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError
from fedsparse.simulation import Result
from fedsparse.strategies.econtrol import EControl
from fedsparse.strategies.ef21 import EF21
from tests.reference import Trace, econtrol
from tests.reference.cohorts import Cohort
from tests.reference.oracle import Q, everybody, printed, top4

LR = 0.1


def ours(cohorts: Sequence[Cohort], start: str = "full", eta: float | None = 0.05, **given: Any) -> Result:
    strategy = EControl(lr=given.pop("lr", LR), eta=eta, start=start, partial=True, uplink=TopK(0.1))
    return run(strategy, cohorts, **given)


def reference(cohorts: Sequence[Cohort], start: str = "full", gradient: Any = Q.gradient) -> Trace:
    return econtrol(
        gradient, Q.x0, Q.clients, cohorts, lr=LR, eta=0.05, compress=top4(), zero_start=start == "zero"
    )


@pytest.mark.parametrize("start", ["full", "zero"])
@pytest.mark.parametrize("cohorts", [ALL, SOME], ids=["all", "some"])
def test_every_iterate_is_the_references(cohorts: Sequence[Cohort], start: str):
    assert_same_run(ours(cohorts, start), reference(cohorts, start), MEMORY)


@pytest.mark.parametrize("start", ["full", "zero"])
def test_every_iterate_is_the_references_with_noisy_gradients(start: str):
    """The gradient that is sent in round 0 is the one of that iteration."""
    gradient = noisy(Q, ALL, 1, noise=0.5)
    expected = reference(ALL, start, twice_at_first(gradient) if start == "full" else gradient)
    assert_same_run(ours(ALL, start, noise=0.5), expected, MEMORY)


@pytest.mark.parametrize("start", ["full", "zero"])
def test_lost_uplinks_leave_clients_as_they_were(start: str):
    faults = Faults(uplink_loss=0.2)
    cohorts = arrived(faults, 60, {0: "start"} if start == "full" else {})
    result = ours(ALL, start, faults=faults)
    assert_same_run(result, reference(cohorts, start), MEMORY)
    assert_estimate_is_the_mean(result)


def test_every_second_number_is_the_stated_one():
    """The oracle numbers, computed with an independent NumPy transcription."""
    result = ours(everybody(200))
    models = iterates(result)
    assert list(models[100, :3]) == printed("0.58853641", "0.48419195", "0.30519536")
    assert list(models[200, :3]) == printed("0.58996324", "0.48520612", "0.30565031")
    assert error(result) == printed("1.63263972e-05")


@pytest.mark.parametrize("eta", [0.01, 0.3, 1.0])
def test_without_compression_it_is_gradient_descent(eta: float):
    result = run(EControl(lr=LR, eta=eta, uplink=Identity()), ALL)
    np.testing.assert_allclose(iterates(result), descent(60, LR), rtol=0, atol=EXACT)


@pytest.mark.parametrize("start", ["full", "zero"])
def test_with_eta_of_zero_it_is_ef21(start: str):
    other = run(EF21(lr=LR, start=start, uplink=TopK(0.1)), ALL)
    np.testing.assert_array_equal(iterates(ours(ALL, start, eta=0.0)), iterates(other))


@pytest.mark.parametrize("start", ["full", "zero"])
@pytest.mark.parametrize("uplink", [TopK(0.1), TopK(0.1, values="fp16"), Sign(), Scaled(QSGD(4))])
def test_the_virtual_iterate_moves_by_plain_sgd(uplink: Any, start: str):
    """x^T - γ mean e_i == x^0 - γ sum of the mean gradients, also with what is rounded to travel."""
    result = run(EControl(lr=0.03, eta=0.05, start=start, uplink=uplink), ALL)
    virtual = result.x.numpy() - 0.03 * rows(result, "memory").mean(0)
    np.testing.assert_allclose(virtual, path(result, 0.03), rtol=0, atol=EXACT)


@pytest.mark.parametrize("uplink", [TopK(0.1, values="fp16"), Sign(), RandK(0.1, unbiased=False)])
def test_server_estimate_stays_the_mean_of_the_clients(uplink: Any):
    assert_estimate_is_the_mean(run(EControl(lr=0.03, uplink=uplink), ALL))


def test_the_first_gradients_are_the_first_estimates():
    np.testing.assert_array_equal(rows(ours(ALL[:1]), "h"), FULL)


@pytest.mark.parametrize(("uplink", "eta"), [(TopK(0.1), 0.05), (TopK(1e-9), 1 / 80), (TopK(1.0), 0.1)])
def test_eta_is_half_of_delta_within_bounds_by_default(uplink: TopK, eta: float):
    assert EControl(uplink=uplink).weight(40) == pytest.approx(eta)
    assert EControl(uplink=uplink).weight(10**6) >= 0.001
    assert EControl(uplink=uplink, eta=0.0).weight(40) == 0


def test_the_default_eta_is_used():
    np.testing.assert_array_equal(iterates(ours(ALL, eta=None)), iterates(ours(ALL, eta=0.05)))


@pytest.mark.slow
@pytest.mark.parametrize(("eta", "stated"), [(0.003, "2.0e-05"), (0.01, "5.9e-11")])
def test_with_a_small_eta_it_forgets_errors_slowly(eta: float, stated: str):
    assert error(ours(everybody(2000), eta=eta)) == printed(stated)


@pytest.mark.slow
@pytest.mark.parametrize(("eta", "lr"), [(0.03, 0.1), (0.1, 0.1), (0.05, 0.3)])
def test_is_exact(eta: float, lr: float):
    assert error(ours(everybody(1500), eta=eta, lr=lr)) < 1e-13


@pytest.mark.slow
@pytest.mark.parametrize(("eta", "least"), [(0.2, 1e-2), (0.3, 1e5)])
def test_is_slow_and_then_diverges_when_eta_passes_delta(eta: float, least: float):
    """3e-2 and divergence stated for δ = 0.1."""
    assert error(ours(everybody(500), eta=eta)) > least


def test_refuses_an_uplink_that_is_not_contractive():
    with pytest.raises(ConfigError, match="contractive"):
        run(EControl(uplink=RandK(0.1)), ALL[:1])


def test_refuses_an_eta_above_one():
    with pytest.raises(ConfigError, match=r"eta=1\.5"):
        EControl(eta=1.5)
