"""D-EC is the reference's D-EC: every iterate, its identities, two messages."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from feedback_cases import (
    ALL,
    MEMORY,
    SOME,
    arrived,
    assert_estimate_is_the_mean,
    descent,
    path,
    twice_at_first,
)
from strategy_cases import EXACT, assert_same_run, error, iterates, noisy, rows, run

from fedsparse.compress import Identity, RandK, Sign, TopK
from fedsparse.engine.faults import Faults
from fedsparse.simulation import Result
from fedsparse.strategies.d_ec import DEC
from fedsparse.strategies.econtrol import EControl
from tests.reference import Trace, d_ec
from tests.reference.cohorts import Cohort
from tests.reference.oracle import Q, everybody, top4

LR = 0.1


def ours(cohorts: Sequence[Cohort], start: str = "full", alpha: float = 1.0, **given: Any) -> Result:
    strategy = DEC(lr=LR, alpha=alpha, start=start, partial=True, uplink=TopK(0.1))
    return run(strategy, cohorts, **given)


def reference(
    cohorts: Sequence[Cohort], start: str = "full", gradient: Any = Q.gradient, alpha: float = 1.0
) -> Trace:
    return d_ec(
        gradient, Q.x0, Q.clients, cohorts, lr=LR, compress=top4(), alpha=alpha, zero_start=start == "zero"
    )


@pytest.mark.parametrize("alpha", [1.0, 0.3])
@pytest.mark.parametrize("start", ["full", "zero"])
@pytest.mark.parametrize("cohorts", [ALL, SOME], ids=["all", "some"])
def test_every_iterate_is_the_references(cohorts: Sequence[Cohort], start: str, alpha: float):
    assert_same_run(ours(cohorts, start, alpha), reference(cohorts, start, alpha=alpha), MEMORY)


def test_every_iterate_is_the_references_with_noisy_gradients():
    expected = reference(ALL, gradient=twice_at_first(noisy(Q, ALL, 1, noise=0.5)))
    assert_same_run(ours(ALL, noise=0.5), expected, MEMORY)


def test_lost_uplinks_leave_clients_as_they_were():
    faults = Faults(uplink_loss=0.2)
    result = ours(ALL, faults=faults)
    assert_same_run(result, reference(arrived(faults, 60, {0: "start"})), MEMORY)
    assert_estimate_is_the_mean(result)


@pytest.mark.parametrize("uplink", [TopK(0.1, values="fp16"), Sign(), RandK(0.1, unbiased=False)])
def test_the_virtual_iterate_moves_by_plain_sgd(uplink: Any):
    result = run(DEC(lr=0.02, uplink=uplink), ALL)
    virtual = result.x.numpy() - 0.02 * rows(result, "memory").mean(0)
    np.testing.assert_allclose(virtual, path(result, 0.02), rtol=0, atol=EXACT)
    assert_estimate_is_the_mean(result)


def test_without_compression_it_is_gradient_descent():
    result = run(DEC(lr=LR, uplink=Identity()), ALL)
    np.testing.assert_allclose(iterates(result), descent(60, LR), rtol=0, atol=EXACT)


def test_sends_twice_what_econtrol_sends():
    double, single = (
        run(strategy(lr=LR, start="zero", uplink=TopK(0.1)), ALL).history[-1].traffic["up_payload_bytes"]
        for strategy in (DEC, EControl)
    )
    assert double == pytest.approx(2 * single, rel=0.03)


def test_is_exact():
    """5.8e-16 after 2000 rounds, by an independent NumPy transcription."""
    assert error(ours(everybody(500))) < 1e-12
