"""The N largest of every M weights, found by comparing whole rows with themselves, some places further on.

Groups are small: to count who is larger than whom is many times faster than to sort. Members of a group are some
places apart, so one comparison of all weights with those that far behind them compares a pair of every group; what
crossed the border of a group is left out. Everything is done for as many weights as stay in cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

__all__ = ["largest_of_groups"]

Marks = npt.NDArray[np.bool_]

Counts = npt.NDArray[Any]
"""Of the smallest type that can count the entries of a group."""

TOGETHER = 1 << 17
"""Weights that are handled together, if it is more than one group."""


def largest_of_groups(x: Tensor, n: int, m: int, apart: int) -> Iterator[tuple[tuple[slice, slice], Marks]]:
    """Which are the ``n`` largest magnitudes of every ``m``; of equal ones the first.

    Args:
        x: ``[C, d]``; each row is made of blocks of ``m * apart`` entries, a block of ``apart`` groups.
        n: at most ``m``.
        m: entries of a group.
        apart: places between two entries of a group.

    Yields:
        Some rows and columns of ``x``, and which of the entries there are used.
    """
    values, (rows, size) = x.detach().numpy(), x.shape
    block = m * apart
    width = min(size, max(1, TOGETHER // block) * block)
    height = max(1, TOGETHER // size)
    for first in range(0, rows, height):
        for start in range(0, size, width):
            at = slice(first, first + height), slice(start, start + width)
            sizes = np.abs(values[at])
            yield at, _ahead(sizes.reshape(-1), m, apart).reshape(sizes.shape) < n


def _ahead(sizes: npt.NDArray[Any], m: int, apart: int) -> Counts:
    """How many of its group come before each entry of ``sizes [L]``, by magnitude."""
    patterns = _patterns(m, apart, max(TOGETHER, m * apart))
    later, *inside = (pattern[: len(sizes)] for pattern in patterns)
    ahead, pair = later.copy(), np.empty(len(sizes), np.bool_)
    won = pair.view(np.uint8)
    for distance, within in enumerate(inside, 1):
        shift = distance * apart
        first, second = slice(len(sizes) - shift), slice(shift, None)
        np.greater_equal(sizes[first], sizes[second], out=pair[first])
        won[first] &= within[first]
        ahead[first] -= won[first]
        ahead[second] += won[first]
    return ahead


@lru_cache(maxsize=8)
def _patterns(m: int, apart: int, length: int) -> list[Counts]:
    """How many of its group lie behind each entry; and whether one does at every distance, as 0 and 1."""
    place = np.arange(length) // apart % m
    inside = [(place < m - distance).astype(np.uint8) for distance in range(1, m)]
    return [(m - 1 - place).astype(np.min_scalar_type(m)), *inside]
