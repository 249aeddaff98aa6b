"""Which coordinates: the three codings of a sorted index set, and the choice among them by exact length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.wire import bits, rice
from fedsparse.wire.reader import Reader

__all__ = ["BITMAP", "PLAIN", "RICE", "choose", "decode", "encode"]

PLAIN = 0
"""Each index with the number of bits that the largest possible one needs."""

BITMAP = 1
"""One bit for each coordinate."""

RICE = 2
"""``RICE + b``: gaps in Golomb-Rice code with parameter b."""

Ints = NDArray[np.int64]


def choose(indices: Ints, offsets: Ints, size: int) -> tuple[Ints, Ints]:
    """The shortest coding of each row; the simpler one among equally long ones, in the order of the numbers.

    Args:
        indices: ``[nnz]``, rows one after another, strictly ascending within each.
        offsets: ``[C + 1]``, where each row starts.
        size: the number of coordinates.

    Returns:
        Coding and length in bytes of each row, both ``[C]``.

    Raises:
        ProtocolError: when indices are not ascending, or not below the size.
    """
    return _choose(_checked_gaps(indices, offsets, size), np.diff(offsets), size)


def _checked_gaps(indices: Ints, offsets: Ints, size: int) -> Ints:
    gaps = rice.gaps_of(indices, offsets)
    if indices.size and (gaps.min() < 0 or indices.max() >= size):
        raise ProtocolError(
            f"indices of a sparse payload are not strictly ascending from 0 to {size - 1} in each row: "
            "sort them, and leave out repeated ones"
        )
    return gaps


def _choose(gaps: Ints, counts: Ints, size: int) -> tuple[Ints, Ints]:
    first = rice.first_parameter(counts, size)
    lengths = np.empty((2 + rice.CANDIDATES, len(counts)), dtype=np.int64)
    lengths[PLAIN] = (counts * _width(size) + 7) // 8
    lengths[BITMAP] = (size + 7) // 8
    lengths[RICE:] = rice.nbytes(gaps, counts, first)
    best = lengths.argmin(axis=0)
    return np.where(best < RICE, best, best + first), lengths[best, np.arange(len(counts))]


def encode(indices: Ints, size: int) -> tuple[int, bytes]:
    """Coding and bytes of one row; see :func:`choose`."""
    ends = np.array((0, len(indices)))
    gaps = _checked_gaps(indices, ends, size)
    coding = int(_choose(gaps, np.diff(ends), size)[0][0])
    if coding == PLAIN:
        return coding, bits.pack(indices, _width(size))
    if coding == BITMAP:
        marks = np.zeros(size, dtype=np.uint8)
        marks[indices] = 1
        return coding, np.packbits(marks, bitorder="little").tobytes()
    return coding, rice.encode(gaps, coding - RICE)


def decode(reader: Reader, coding: int, count: int, size: int) -> Ints:
    """Read the ``count`` indices that are the rest of the bytes.

    Raises:
        DecodeError: when they are not ascending within the size, or coded as no sender would.
    """
    if coding == PLAIN:
        indices = reader.packed(count, _width(size), "indices")
        reader.end()
    elif coding == BITMAP:
        indices = np.flatnonzero(reader.flags(size, "bitmap"))
        reader.end()
    else:
        indices = rice.decode(reader, coding - RICE, count, size)
    _check(indices, coding, count, size)
    return indices


def _check(indices: Ints, coding: int, count: int, size: int) -> None:
    if len(indices) != count:
        raise DecodeError(f"bitmap: {len(indices)} bits are set, the message says {count}")
    gaps = rice.gaps_of(indices, np.array((0, count)))
    if count and gaps.min() < 0:
        raise DecodeError("indices: not strictly ascending")
    if count and indices[-1] >= size:
        raise DecodeError(f"indices: {indices[-1]} is outside the {size} coordinates")
    best = int(_choose(gaps, np.array((count,)), size)[0][0])
    if coding != best:
        raise DecodeError(f"index coding: {coding}, where every sender uses {best} for these indices")


def _width(size: int) -> int:
    return max(size - 1, 0).bit_length()
