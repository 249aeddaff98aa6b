"""EF21-SGDM is the reference's EF21-SGDM, from both starts, and has a lower floor than EF21."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from feedback_cases import ALL, FULL, MEMORY, SOME, arrived, assert_estimate_is_the_mean
from strategy_cases import EXACT, assert_same_run, error, iterates, noisy, run

from fedsparse.compress import TopK
from fedsparse.engine.faults import Faults
from fedsparse.simulation import Result
from fedsparse.strategies.ef21 import EF21
from fedsparse.strategies.ef21_sgdm import EF21SGDM
from tests.reference import Trace, ef21_sgdm
from tests.reference.cohorts import Cohort
from tests.reference.oracle import Q, everybody, top4


def ours(cohorts: Sequence[Cohort], start: str = "full", lr: float = 0.1, **given: Any) -> Result:
    strategy = EF21SGDM(lr=lr, beta=0.2, start=start, partial=True, uplink=TopK(0.1))
    return run(strategy, cohorts, **given)


def reference(cohorts: Sequence[Cohort], start: str = "full", gradient: Any = Q.gradient) -> Trace:
    first = FULL if start == "full" else None
    return ef21_sgdm(gradient, Q.x0, Q.clients, cohorts, lr=0.1, compress=top4(), beta=0.2, estimates=first)


@pytest.mark.parametrize("start", ["full", "zero"])
@pytest.mark.parametrize("cohorts", [ALL, SOME], ids=["all", "some"])
def test_every_iterate_is_the_references(cohorts: Sequence[Cohort], start: str):
    assert_same_run(ours(cohorts, start), reference(cohorts, start), MEMORY)


def test_every_iterate_is_the_references_with_noisy_gradients():
    expected = reference(ALL, "zero", noisy(Q, ALL, 1, noise=0.5))
    assert_same_run(ours(ALL, "zero", noise=0.5), expected, MEMORY)


def test_lost_uplinks_leave_clients_as_they_were():
    faults = Faults(uplink_loss=0.2)
    result = ours(ALL, faults=faults)
    assert_same_run(result, reference(arrived(faults, 60, {0: "start"})), MEMORY)
    assert_estimate_is_the_mean(result)


@pytest.mark.parametrize("start", ["full", "zero"])
def test_with_beta_of_one_it_is_ef21(start: str):
    given = {"lr": 0.1, "start": start, "uplink": TopK(0.1)}
    plain, momentum = run(EF21(**given), ALL, noise=0.5), run(EF21SGDM(beta=1.0, **given), ALL, noise=0.5)
    np.testing.assert_allclose(iterates(momentum), iterates(plain), rtol=0, atol=EXACT)


@pytest.mark.slow
def test_is_exact_with_exact_gradients():
    """1.2e-15 after 2000 rounds with beta = 0.1, by an independent NumPy transcription."""
    strategy = EF21SGDM(lr=0.1, beta=0.1, uplink=TopK(0.1))
    assert error(run(strategy, everybody(2000))) < 1e-13


@pytest.mark.slow
def test_the_step_must_shrink_with_beta():
    assert error(run(EF21SGDM(lr=0.3, beta=0.1, uplink=TopK(0.1)), everybody(500))) > 1
    assert error(run(EF21SGDM(lr=0.1, beta=0.1, uplink=TopK(0.1)), everybody(500))) < 1e-4
