"""EF21 is the reference's EF21, from both starts, and exact."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from feedback_cases import ALL, FULL, MEMORY, SOME, arrived, assert_estimate_is_the_mean, descent, named
from strategy_cases import EXACT, assert_same_run, error, iterates, noisy, rows, run

from fedsparse.compress import Identity, RandK, Sign, TopK
from fedsparse.engine.faults import Faults
from fedsparse.errors import ConfigError
from fedsparse.simulation import Result
from fedsparse.strategies.ef21 import EF21
from tests.reference import Trace, ef21
from tests.reference.cohorts import Cohort
from tests.reference.oracle import Q, everybody, top4

LR = 0.1


def ours(cohorts: Sequence[Cohort], start: str = "full", **given: Any) -> Result:
    return run(EF21(lr=LR, start=start, partial=True, uplink=TopK(0.1)), cohorts, **given)


def reference(
    cohorts: Sequence[Cohort], start: str = "full", gradient: Any = Q.gradient, **given: Any
) -> Trace:
    first = FULL if start == "full" else None
    given = {"estimates": first, **given}
    trace = ef21(gradient, Q.x0, Q.clients, cohorts, lr=LR, compress=top4(), **given)
    return named(trace, g="h")


@pytest.mark.parametrize("start", ["full", "zero"])
@pytest.mark.parametrize("cohorts", [ALL, SOME], ids=["all", "some"])
def test_every_iterate_is_the_references(cohorts: Sequence[Cohort], start: str):
    assert_same_run(ours(cohorts, start), reference(cohorts, start), MEMORY)


def test_every_iterate_is_the_references_with_noisy_gradients():
    expected = reference(ALL, "zero", noisy(Q, ALL, 1, noise=0.5))
    assert_same_run(ours(ALL, "zero", noise=0.5), expected, MEMORY)


@pytest.mark.parametrize("start", ["full", "zero"])
def test_lost_uplinks_leave_clients_as_they_were(start: str):
    faults = Faults(uplink_loss=0.2)
    cohorts = arrived(faults, 60, {0: "start"} if start == "full" else {})
    result = ours(ALL, start, faults=faults)
    assert_same_run(result, reference(cohorts, start), MEMORY)
    assert_estimate_is_the_mean(result)
    assert sum(r.lost for r in result.history) > 60


def test_the_first_gradients_are_sent_as_they_are_and_charged():
    first, second = (r.traffic["up_payload_bytes"] for r in ours(ALL[:2]).history)
    assert first >= 10 * 40 * 8
    assert second < 10 * 4 * (8 + 2) + 10 * 8


def test_everybody_sends_the_first_gradient_whoever_is_drawn():
    result = ours([np.array([3]), np.array([5])])
    assert [r.traffic["up_messages"] for r in result.history] == [10, 1]
    np.testing.assert_array_equal(rows(result, "h")[:3], FULL[:3])


@pytest.mark.parametrize("start", ["full", "zero"])
def test_takes_one_gradient_a_round(start: str):
    assert [r.gradient_calls for r in ours(ALL[:3], start).history] == [10, 10, 10]


def test_without_compression_it_is_gradient_descent():
    result = run(EF21(lr=LR, uplink=Identity()), ALL)
    np.testing.assert_allclose(iterates(result), descent(60, LR), rtol=0, atol=EXACT)


@pytest.mark.parametrize("uplink", [TopK(0.1, values="fp16"), Sign(), RandK(0.1, unbiased=False)])
def test_what_is_rounded_to_travel_is_what_clients_keep(uplink: Any):
    assert_estimate_is_the_mean(run(EF21(lr=0.02, uplink=uplink), ALL))


def test_is_exact():
    """5.0e-15 after 200 rounds, by an independent NumPy transcription."""
    assert error(ours(everybody(200))) < 1e-13


def test_refuses_an_uplink_that_is_not_contractive():
    with pytest.raises(ConfigError, match="contractive"):
        run(EF21(uplink=RandK(0.1)), ALL[:1])
