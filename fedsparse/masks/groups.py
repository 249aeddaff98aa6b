"""The N largest of every M weights, found by comparing whole rows with themselves, some places further on.

Groups are small: to count who is larger than whom is many times faster than to sort. Members of a group are some
places apart, so one comparison of all weights with those that far behind them compares a pair of every group; what
crossed the border of a group is left out. Everything is done for as many weights as stay in cache. The marks of a
group whose members are neighbours are one word, if there are 2, 4 or 8 of them, and are counted together.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

__all__ = ["largest_of_groups"]

Marks = npt.NDArray[np.bool_]

Sizes = npt.NDArray[Any]

Counts = npt.NDArray[Any]
"""Of the smallest type that can count the entries of a group."""

TOGETHER = 1 << 18
"""Weights that are handled together, if it is more than one group."""

WORDS: dict[int, type[np.unsignedinteger[Any]]] = (
    {2: np.uint16, 4: np.uint32, 8: np.uint64} if sys.byteorder == "little" else {}
)
"""The words with a byte for each member of a group, the first one in the lowest byte."""


def largest_of_groups(x: Tensor, n: int, m: int, apart: int) -> Iterator[tuple[tuple[slice, slice], Marks]]:
    """Which are the ``n`` largest magnitudes of every ``m``; of equal ones the first.

    Args:
        x: ``[C, d]``; each row is made of blocks of ``m * apart`` entries, a block of ``apart`` groups.
        n: at most ``m``.
        m: entries of a group.
        apart: places between two entries of a group.

    Yields:
        Some rows and columns of ``x``, and which of the entries there are used, until the next ones are asked for.
    """
    values, (rows, size) = x.detach().numpy(), x.shape
    block = m * apart
    width = min(size, max(1, TOGETHER // block) * block)
    height = min(rows, max(1, TOGETHER // size))
    room = np.empty(width * height, values.dtype)
    pair, counts = np.empty((2, len(room)), np.uint8)
    for first in range(0, rows, height):
        for start in range(0, size, width):
            at = slice(first, first + height), slice(start, start + width)
            some = values[at]
            sizes = room[: some.size]
            np.abs(some, out=sizes.reshape(some.shape))
            if apart == 1 and m in WORDS:
                marks = _by_word(sizes, n, m, pair[: some.size], counts[: some.size])
            else:
                marks = _ahead(sizes, m, apart) < n
            yield at, marks.reshape(some.shape)


def _by_word(sizes: Sizes, n: int, m: int, pair: Counts, counts: Counts) -> Marks:
    """Which entries of ``sizes [L]`` are used, where groups are neighbours; the others ``[L]`` are to be written to."""
    word = WORDS[m]
    won, found = pair.view(word), counts.view(word)
    for distance in range(1, m):
        np.greater_equal(sizes[:-distance], sizes[distance:], out=pair.view(np.bool_)[:-distance])
        inside, gain = _counted(m, distance)
        # The first of each pair wins, or the second: at one factor, one is added here and taken off there.
        if distance == 1:
            np.multiply(np.bitwise_and(won, word(inside), out=found), word(gain), out=found)
        else:
            np.multiply(np.bitwise_and(won, word(inside), out=won), word(gain), out=won)
            np.add(found, won, out=found)
    # Who comes before at least m - n others is used; the highest bit of a byte then says so.
    np.add(found, word(sum((place + 128 - (m - n)) << 8 * place for place in range(m))), out=found)
    np.right_shift(found, word(7), out=found)
    np.bitwise_and(found, word(_ones(m)), out=found)
    return counts.view(np.bool_)


def _counted(m: int, distance: int) -> tuple[int, int]:
    """The bytes of a word for which there is a member at this distance; and what a win adds to a word, from there."""
    return _ones(m - distance), (1 - (1 << 8 * distance)) % (1 << 8 * m)


def _ones(count: int) -> int:
    """A one in each of the first bytes."""
    return sum(1 << 8 * place for place in range(count))


def _ahead(sizes: Sizes, m: int, apart: int) -> Counts:
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
