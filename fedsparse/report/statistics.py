"""Means over seeds with their intervals, paired tests, and medians of what was not always reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

__all__ = ["LEVEL", "Estimate", "estimate", "half_width", "holm", "median_reached", "paired_p"]

LEVEL = 0.05
"""Intervals hold with 95 %; what is less probable than 5 % by chance counts as a difference."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: NaN where one of the values is.
        half: half the width of the 95 % interval of the mean; NaN where there is one value only.
        count: how many values.
    """

    mean: float
    half: float
    count: int


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of n values, and Student's interval: t of n - 1 degrees of freedom times s / sqrt(n)."""
    found = np.asarray(values, dtype=np.float64)
    if not len(found):
        return Estimate(math.nan, math.nan, 0)
    return Estimate(float(found.mean()), float(half_width(found)), len(found))


def half_width(values: ArrayLike) -> NDArray[np.float64]:
    """Half the width of the interval, over the first axis ``[n, ...]``; NaN where n is 1."""
    found = np.asarray(values, dtype=np.float64)
    n = len(found)
    if n < 2:
        return np.full(found.shape[1:], np.nan)
    t = float(stdtrit(n - 1, 1 - LEVEL / 2))
    return np.asarray(t * found.std(axis=0, ddof=1) / math.sqrt(n))


def paired_p(a: Sequence[float], b: Sequence[float]) -> float:
    """How probable so large a mean difference is if there is none: the two-sided paired t test.

    Args:
        a: one value for each seed ``[n]``.
        b: the same seeds, in the same order ``[n]``.

    Returns:
        1 where all pairs are equal, 0 where all differ by the same amount, NaN where there are fewer than two pairs.
    """
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    n = len(difference)
    if n < 2 or not np.isfinite(difference).all():
        return math.nan
    mean, spread = float(difference.mean()), float(difference.std(ddof=1))
    if spread == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(n - 1, -abs(mean) * math.sqrt(n) / spread))


def holm(probabilities: Sequence[float]) -> list[float]:
    """Probabilities of several tests, corrected for their number after Holm (1979); NaN stays, and does not count."""
    order = sorted((p, place) for place, p in enumerate(probabilities) if not math.isnan(p))
    corrected, least = list(probabilities), 0.0
    for rank, (p, place) in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p))
        corrected[place] = least
    return corrected


def median_reached(reached: Sequence[float], censored: Sequence[float]) -> float:
    """The median of what it took, where some gave up before: the Kaplan-Meier estimate.

    Args:
        reached: what those needed that arrived.
        censored: what those had spent that did not.

    Returns:
        the least amount by which half of all have arrived; infinite where that cannot be known.
    """
    alive = 1.0
    for amount in sorted(set(reached)):
        at_risk = sum(r >= amount for r in reached) + sum(c >= amount for c in censored)
        alive *= 1 - sum(r == amount for r in reached) / at_risk
        if alive <= 0.5 + 1e-12:
            return amount
    return math.inf
