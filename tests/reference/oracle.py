"""The common setting of the checks: the toy, its cohorts and compressors, and how numbers are compared."""

from decimal import Decimal

import pytest

from . import cohorts, compressors, q_toy

Q = q_toy()
LOCAL = {"lr": 0.02, "steps": 5}
ROUND_OFF = 1e-14


def printed(*numbers: str):
    """What rounds to the printed digits; up to a relative 1e-6 or the round-off of a relative distance."""
    expected = []
    for number in map(Decimal, numbers):
        half_unit = 10.0 ** number.as_tuple().exponent / 2
        expected.append(pytest.approx(float(number), rel=1e-6, abs=max(half_unit, 1e-15)))
    return expected if len(expected) > 1 else expected[0]


def top4() -> compressors.Compress:
    """Top-k of 10 %."""
    return compressors.top_k(4)


def rand4(seed: int = 11) -> compressors.Compress:
    """Unbiased rand-k of 10 %."""
    return compressors.rand_k(4, seed)


def sampled(size: int, rounds: int) -> list[cohorts.Cohort]:
    """Random cohorts of the ten clients."""
    return cohorts.sampled(Q.clients, size, rounds)


def everybody(rounds: int) -> list[cohorts.Cohort]:
    """All ten clients, always."""
    return cohorts.everybody(Q.clients, rounds)
