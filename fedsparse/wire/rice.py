"""Golomb-Rice code of the gaps between indices.

A gap is ``quotient * 2**b + remainder``. The remainders go first, b bits each; then the quotients, each as
that many zeros and a one. In two streams instead of one, both directions are whole-array operations, for many rows
at once. The last one ends the bytes.

Reference: R. F. Rice, "Some practical universal noiseless coding techniques", JPL 79-22, 1979.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedsparse.errors import DecodeError
from fedsparse.wire import bits
from fedsparse.wire.reader import Reader

__all__ = ["CANDIDATES", "decode", "encode", "first_parameter", "gaps_of", "nbytes", "zeros"]

CANDIDATES = 3
"""Parameters that are tried for a row, from :func:`first_parameter` on."""

Ints = NDArray[np.int64]


def gaps_of(indices: Ints, offsets: Ints) -> Ints:
    """How many coordinates are skipped before each index, ``[nnz]``; rows start at ``offsets[:-1]``."""
    gaps = np.empty_like(indices)
    np.subtract(indices[1:], indices[:-1], out=gaps[1:])
    gaps -= 1
    starts = offsets[:-1][offsets[1:] > offsets[:-1]]
    gaps[starts] = indices[starts]
    return gaps


def first_parameter(count: int, size: int) -> int:
    """The smallest of the parameters worth trying for ``count`` indices of ``size`` coordinates.

    The best one is about log2(0.69 size / count) for a uniform support, which lies between half a bit under
    floor(log2(size / count)) and the same above. Whole numbers only: all machines choose the same.
    """
    return max(max(size // max(count, 1), 1).bit_length() - 2, 0)


def zeros(gaps: Ints, counts: Ints, first: Ints) -> Ints:
    """Sum of the quotients of each row with each of the parameters tried.

    Args:
        gaps: ``[nnz]``, rows one after another.
        counts: of each row, ``[C]``.
        first: the smallest parameter of each row, ``[C]``.

    Returns:
        ``[CANDIDATES, C]``.
    """
    sums = np.zeros((CANDIDATES, len(counts)), dtype=np.int64)
    if gaps.size:
        filled = counts > 0
        starts = (np.cumsum(counts) - counts)[filled]
        alike = (first == first[0]).all()
        quotients = gaps >> (first[0] if alike else np.repeat(first, counts))
        sums[0, filled] = np.add.reduceat(quotients, starts)
        for step in range(1, CANDIDATES):
            quotients >>= 1
            sums[step, filled] = np.add.reduceat(quotients, starts)
    return sums


def nbytes(count: int, b: int, zeros: int) -> int:
    """Bytes of a row of ``count`` gaps whose quotients sum up to ``zeros``."""
    return (count * b + 7) // 8 + (count + zeros + 7) // 8


def encode(gaps: Ints, b: int) -> list[bytes]:
    """The bytes of each row of ``gaps [R, k]``."""
    rows, count = gaps.shape
    remainders = bits.pack_rows(gaps & ((1 << b) - 1), b)
    ends = gaps >> b
    ends += 1
    np.cumsum(ends, axis=1, out=ends)
    lengths = (ends[:, -1] + 7) // 8 if count else np.zeros(rows, dtype=np.int64)
    width = int(lengths.max(initial=0))
    unary = np.zeros((rows, width * 8), dtype=np.uint8)
    ends += np.arange(-1, unary.size - 1, width * 8)[:, None] if width else 0
    unary.reshape(-1)[ends] = 1
    quotients = np.packbits(unary, axis=1, bitorder="little")
    return [
        remainder.tobytes() + quotient[:length].tobytes()
        for remainder, quotient, length in zip(remainders, quotients, lengths.tolist(), strict=True)
    ]


def decode(readers: Sequence[Reader], b: int, count: int, size: int) -> Ints:
    """Read the ``count`` gaps that are the rest of the bytes of each reader, ``[R, count]``.

    Raises:
        DecodeError: when they are cut, too long, or coded as no sender would.
    """
    first = first_parameter(count, size)
    if not first <= b < first + CANDIDATES:
        raise DecodeError(
            f"index coding: Rice parameter {b}; for {count} of {size} it is {first} to {first + 2}"
        )
    rows = len(readers)
    packed = b"".join([reader.filled(count * b, "remainders") for reader in readers])
    streams = [bytes(reader.rest()) for reader in readers]
    lengths = np.array([len(stream) for stream in streams])
    width, longest = int(lengths.max()), (count + (size >> b) + 7) // 8
    if width > longest:
        raise DecodeError(f"quotients: {width} bytes; at most {longest} are possible")
    padded = np.frombuffer(b"".join([stream.ljust(width, b"\0") for stream in streams]), dtype=np.uint8)
    ends = np.flatnonzero(np.unpackbits(padded, bitorder="little").view(np.bool_))
    whole = len(ends) == rows * count
    if whole:
        ends = ends.reshape(rows, count) - np.arange(rows)[:, None] * (8 * width)
        last = ends[:, -1] if count else np.full(rows, -8)
        whole = bool((last // 8 + 1 == lengths).all() and ends.min(initial=0) >= 0)
    if not whole:
        raise DecodeError(
            f"quotients: {ends.size} of {rows * count} in {len(padded)} bytes, which do not end with the last one"
        )
    if count and last.max() - count + 1 > size >> b:
        raise DecodeError(f"quotients: an index is outside the {size} coordinates")
    gaps = bits.unpack_rows(np.frombuffer(packed, dtype=np.uint8).reshape(rows, -1), count, b)
    ends <<= b
    gaps += ends
    gaps[:, 1:] -= ends[:, :-1] + (1 << b)
    return gaps
