"""How many entries a fraction is: one rule for every compressor."""

from __future__ import annotations

import math

from fedsparse.errors import ConfigError

__all__ = ["kept"]


def kept(fraction: float, size: int, k: int | None = None) -> int:
    """Entries kept of ``size``: the fraction of it rounded to the nearest, halves up, and at least one.

    Args:
        fraction: share of the entries, above 0 and at most 1.
        size: d, at least 1.
        k: the number itself; the fraction then means nothing.

    Raises:
        ConfigError: ``k`` is larger than ``size``.
    """
    if k is None:
        return max(1, math.floor(fraction * size + 0.5))
    if k > size:
        raise ConfigError(
            f"k={k}: a vector of {size} entries has no {k} to keep; at most {size}, or give a fraction"
        )
    return k
