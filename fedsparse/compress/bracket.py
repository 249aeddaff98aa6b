"""The k largest of one long row, marked by two borders between which the k-th lies, and few others.

What lies above both is among them, and of what lies between only some have to be found. The row is read once, some
entries at a time: what is done with these is done while they are in cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["marked"]

Integers = npt.NDArray[Any]
"""Signed integers as wide as the floats whose bits they are."""

Indices = npt.NDArray[np.int64]

Marks = npt.NDArray[np.bool_]

PART = 1 << 18
"""Entries that are compared with the borders at a time."""

WIDTH = 8
"""Marks of a 64-bit word."""

INFINITY = {4: 0x7F80_0000, 8: 0x7FF0_0000_0000_0000}
"""Its bits, by the bytes of a float."""


def marked(bits: Integers, sample: Integers, k: int, marks: Marks) -> bool:
    """Marks the ``k`` entries of largest magnitude; of equal ones the first.

    Args:
        bits: of the floats, ``[n]``.
        sample: the bits of some of them without their sign, to be written to.
        k: between 0 and n.
        marks: ``[n]``, to be written to.

    Returns:
        Whether the marks are made. Not if the sample was misleading, or too many are not numbers.
    """
    least, most = _borders(sample, k, len(bits))
    size = min(PART, len(bits))
    keys, inner = np.empty(size, bits.dtype), np.empty(size, np.bool_)
    missing, places, found = k, [], []
    for first in range(0, len(bits), PART):
        part, passed = bits[first : first + PART], marks[first : first + PART]
        own, between = keys[: len(part)], inner[: len(part)]
        np.bitwise_and(part, np.iinfo(part.dtype).max, out=own)
        np.greater_equal(own, least, out=passed)
        np.less_equal(own, most, out=between)
        missing -= len(own) - int(np.count_nonzero(between))
        at = _rare(np.logical_and(passed, between, out=between))
        found.append(own[at])
        places.append(at + first)
    among, where = np.concatenate(found), np.concatenate(places)
    if not 0 < missing <= len(among):
        return False
    rank = len(among) - missing
    border = np.partition(among, rank)[rank]
    if border > INFINITY[bits.itemsize]:
        return False
    above = int(np.count_nonzero(among > border))
    marks[where[among < border]] = False
    marks[where[among == border][missing - above :]] = False
    return True


def _borders(sample: Integers, k: int, size: int) -> tuple[Any, Any]:
    """Two keys between which the k-th largest of ``size`` almost surely lies."""
    count, kind = len(sample), sample.dtype.type
    expected = k * count / size
    slack = 4 * (expected * (1 - k / size)) ** 0.5 + 4
    low, high = count - int(expected + slack), count - int(expected - slack)
    places = [place for place in (low, high) if 0 <= place < count]
    if places:
        sample.partition(places)
    return sample[low] if low >= 0 else kind(0), sample[high] if high < count else np.iinfo(kind).max


def _rare(marks: Marks) -> Indices:
    """Where few marks are true.

    Words with any are not that few, so that NumPy does not branch from one to the next, which takes longer.
    """
    whole = len(marks) // WIDTH * WIDTH
    words = marks[:whole].view(np.uint64)
    groups = np.flatnonzero(words != 0)
    found = np.flatnonzero(words[groups].view(np.bool_))
    found += ((groups - np.arange(len(groups))) * WIDTH).take(found // WIDTH)
    return np.concatenate((found, whole + np.flatnonzero(marks[whole:])))
