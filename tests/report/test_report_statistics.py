"""Means, tests and medians: against SciPy's, and against sums by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from fedsparse.report.statistics import estimate, half_width, holm, median_reached, paired_p

A = [0.91, 0.93, 0.90, 0.95, 0.92]
B = [0.90, 0.92, 0.91, 0.91, 0.90]


def test_the_interval_is_students():
    found = estimate(A)
    low, high = stats.t.interval(0.95, len(A) - 1, loc=np.mean(A), scale=stats.sem(A))
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high), rel=1e-12)


def test_one_value_has_no_interval():
    assert math.isnan(estimate([0.9]).half)
    assert estimate([0.9]).mean == 0.9


def test_a_value_that_is_not_finite_is_not_left_out():
    assert math.isnan(estimate([0.9, math.nan]).mean)


def test_intervals_go_over_the_first_axis():
    both = np.array([A, B]).T
    assert half_width(both) == pytest.approx([estimate(A).half, estimate(B).half])


def test_the_paired_test_is_scipys():
    assert paired_p(A, B) == pytest.approx(stats.ttest_rel(A, B).pvalue, rel=1e-12)


@pytest.mark.parametrize(
    ("b", "p"),
    [([0.9, 0.9], 1.0), ([0.8, 0.8], 0.0), ([0.8, math.nan], math.nan)],
    ids=["equal", "all pairs differ by the same", "one is missing"],
)
def test_pairs_without_spread_need_no_distribution(b, p):
    assert paired_p([0.9, 0.9], b) == pytest.approx(p, nan_ok=True)


def test_one_pair_cannot_be_tested():
    assert math.isnan(paired_p([0.9], [0.1]))


def test_the_correction_is_holms():
    # Three tests: 3 * 0.01, then 2 * 0.02, then 0.04, none below the one before; the missing one does not count.
    assert holm([0.04, 0.01, math.nan, 0.02]) == pytest.approx([0.04, 0.03, math.nan, 0.04], nan_ok=True)


@pytest.mark.parametrize(
    ("reached", "censored", "median"),
    [
        ([1, 2, 3], [], 2),
        ([1, 2, 3, 4], [], 2),
        ([1, 2], [9], 2),
        ([1], [9, 9], math.inf),
        ([], [5], math.inf),
        # The censored one left before 2: of the two at risk then one arrives, 1 * 1/2.
        ([2, 4], [1], 2),
        # At 1 one of four arrives, 3/4; one leaves; at 3 one of two, 3/8.
        ([1, 3, 5], [2], 3),
    ],
)
def test_the_median_is_that_of_kaplan_and_meier(reached, censored, median):
    assert median_reached(reached, censored) == median
