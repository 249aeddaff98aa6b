"""Tuning that is fair: every method gets the same grid, seeds and criterion, and what was tuned says so."""

from fedsparse.tuning.fairness import Tuned, refuse_unlike, unlike

__all__ = ["Tuned", "refuse_unlike", "unlike"]
