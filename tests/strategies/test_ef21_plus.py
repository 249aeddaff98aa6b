"""EF21+ is the reference's EF21+: every iterate, the choice that travels, what the server knows of each client."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from feedback_cases import ALL, FULL, MEMORY, SOME, arrived, assert_estimate_is_the_mean
from strategy_cases import assert_same_run, error, iterates, noisy, rows, run

from fedsparse.compress import RandK, Sign, TopK
from fedsparse.engine.faults import Faults
from fedsparse.simulation import Result
from fedsparse.strategies.ef21 import EF21
from fedsparse.strategies.ef21_plus import EF21Plus
from tests.reference import Trace, ef21_plus
from tests.reference.cohorts import Cohort
from tests.reference.oracle import Q, everybody, top4


def ours(cohorts: Sequence[Cohort], start: str = "full", **given: Any) -> Result:
    return run(EF21Plus(lr=0.1, start=start, partial=True, uplink=TopK(0.1)), cohorts, **given)


def reference(cohorts: Sequence[Cohort], start: str = "full", gradient: Any = Q.gradient) -> Trace:
    first = FULL if start == "full" else None
    return ef21_plus(gradient, Q.x0, Q.clients, cohorts, lr=0.1, compress=top4(), estimates=first)


def assert_server_knows_the_clients(result: Result) -> None:
    np.testing.assert_array_equal(result.server["clients"], rows(result, "h"))
    assert_estimate_is_the_mean(result)


@pytest.mark.parametrize("start", ["full", "zero"])
@pytest.mark.parametrize("cohorts", [ALL, SOME], ids=["all", "some"])
def test_every_iterate_is_the_references(cohorts: Sequence[Cohort], start: str):
    result = ours(cohorts, start)
    assert_same_run(result, reference(cohorts, start), MEMORY)
    assert_server_knows_the_clients(result)


def test_every_iterate_is_the_references_with_noise_that_makes_clients_start_afresh():
    gradient = noisy(Q, ALL, 1, noise=30.0)
    result = ours(ALL, "zero", noise=30.0)
    assert_same_run(result, reference(ALL, "zero", gradient), MEMORY)
    plain = run(EF21(lr=0.1, start="zero", uplink=TopK(0.1)), ALL, noise=30.0)
    assert not np.allclose(iterates(result), iterates(plain))


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("uplink", [TopK(0.1, values="fp16"), Sign(), RandK(0.1, unbiased=False)])
def test_the_server_knows_every_client_whatever_is_rounded_and_lost(uplink: Any, loss: float):
    faults = Faults(uplink_loss=loss)
    result = run(EF21Plus(lr=0.01, start="zero", uplink=uplink), ALL, noise=10.0, faults=faults)
    assert_server_knows_the_clients(result)


def test_lost_uplinks_leave_clients_as_they_were():
    faults = Faults(uplink_loss=0.2)
    assert_same_run(ours(ALL, faults=faults), reference(arrived(faults, 60, {0: "start"})), MEMORY)


def test_the_choice_costs_five_bytes():
    both = ours(ALL[:3], "zero").history[-1].traffic["up_payload_bytes"]
    plain = run(EF21(lr=0.1, start="zero", uplink=TopK(0.1)), ALL[:3]).history[-1]
    assert both == pytest.approx(plain.traffic["up_payload_bytes"] + 10 * 5, abs=10 * 4)


def test_is_exact():
    assert error(ours(everybody(200))) < 1e-12
