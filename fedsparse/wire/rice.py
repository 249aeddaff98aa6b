"""Golomb-Rice code of the gaps between indices.

A gap is ``quotient * 2**b + remainder``. The remainders go first, b bits each; then the quotients, each as
that many zeros and a one. In two streams instead of one, both directions are whole-array operations. The last
one ends the bytes.

Reference: R. F. Rice, "Some practical universal noiseless coding techniques", JPL 79-22, 1979.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedsparse.errors import DecodeError
from fedsparse.wire import bits
from fedsparse.wire.reader import Reader

__all__ = ["CANDIDATES", "decode", "encode", "first_parameter", "gaps_of", "nbytes"]

CANDIDATES = 3
"""Parameters that are tried for a row, from :func:`first_parameter` on."""

Ints = NDArray[np.int64]


def gaps_of(indices: Ints, offsets: Ints) -> Ints:
    """How many coordinates are skipped before each index, ``[nnz]``; rows start at ``offsets[:-1]``."""
    gaps = np.empty_like(indices)
    np.subtract(indices[1:], indices[:-1], out=gaps[1:])
    starts = offsets[:-1][np.diff(offsets) > 0]
    gaps[starts] = indices[starts] + 1
    return gaps - 1


def first_parameter(counts: Ints, size: int) -> Ints:
    """The smallest of the parameters worth trying, ``[C]``.

    The best one is about log2(0.69 size / count) for a uniform support, which lies between half a bit under
    floor(log2(size / count)) and the same above. Whole numbers only: all machines choose the same.
    """
    ratio = np.maximum(size // np.maximum(counts, 1), 1)
    floor_log2: Ints = np.frexp(ratio.astype(np.float64))[1].astype(np.int64) - 1
    return np.maximum(floor_log2 - 1, 0)


def nbytes(gaps: Ints, counts: Ints, first: Ints) -> Ints:
    """Bytes of each row with each of the parameters ``first``, ``first + 1``, ..., ``[CANDIDATES, C]``."""
    out = np.empty((CANDIDATES, len(counts)), dtype=np.int64)
    quotients = gaps >> np.repeat(first, counts)
    filled = counts > 0
    starts = (np.cumsum(counts) - counts)[filled]
    zeros = np.zeros(len(counts), dtype=np.int64)
    for step in range(CANDIDATES):
        if starts.size:
            zeros[filled] = np.add.reduceat(quotients, starts)
        out[step] = (counts * (first + step) + 7) // 8 + (counts + zeros + 7) // 8
        quotients >>= 1
    return out


def encode(gaps: Ints, b: int) -> bytes:
    """The bytes of one row."""
    ends = np.cumsum((gaps >> b) + 1)
    unary = np.zeros(ends[-1] if ends.size else 0, dtype=np.uint8)
    unary[ends - 1] = 1
    return bits.pack(gaps & ((1 << b) - 1), b) + np.packbits(unary, bitorder="little").tobytes()


def decode(reader: Reader, b: int, count: int, size: int) -> Ints:
    """Read the ``count`` indices that are the rest of the bytes.

    Raises:
        DecodeError: when they are cut, too long, or coded as no sender would.
    """
    first = int(first_parameter(np.array([count]), size)[0])
    if not first <= b < first + CANDIDATES:
        raise DecodeError(
            f"index coding: Rice parameter {b}; for {count} of {size} it is {first} to {first + 2}"
        )
    remainders = reader.packed(count, b, "remainders")
    stream = reader.rest()
    longest = (count + (size >> b) + 7) // 8
    if len(stream) > longest:
        raise DecodeError(f"quotients: {len(stream)} bytes; at most {longest} are possible")
    unary = np.unpackbits(np.frombuffer(stream, dtype=np.uint8), bitorder="little")
    ends = np.flatnonzero(unary)
    if len(ends) != count or len(stream) != (ends[-1] // 8 + 1 if count else 0):
        raise DecodeError(
            f"quotients: {len(ends)} of {count} in {len(stream)} bytes, which do not end with the last one"
        )
    quotients = np.diff(ends, prepend=-1) - 1
    return np.cumsum((quotients << b) + remainders + 1) - 1
