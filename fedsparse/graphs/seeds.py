"""Seeds made from seeds."""

from __future__ import annotations

from fedsparse.rng import seed64

__all__ = ["derived"]


def derived(seed: int, purpose: str, number: int = 0) -> int:
    """A seed of its own for a part, or for one of several tries; 63 bits, so that it can be one of a run."""
    return seed64(seed, f"topology:{purpose}", number) >> 1
