"""Which coordinates: the three codings of a sorted index set, and the choice among them by exact length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.wire import bits, rice
from fedsparse.wire.reader import Reader, attempt

__all__ = ["BITMAP", "PLAIN", "RICE", "choose", "decode", "encode"]

PLAIN = 0
"""Each index with the number of bits that the largest possible one needs."""

BITMAP = 1
"""One bit for each coordinate."""

RICE = 2
"""``RICE + b``: gaps in Golomb-Rice code with parameter b."""

TOGETHER = 1 << 16
"""Indices that are coded together, if it is more than one row: they stay in cache."""

Ints = NDArray[np.int64]

T = TypeVar("T")


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
    gaps, counts = rice.gaps_of(indices, offsets), offsets[1:] - offsets[:-1]
    if gaps.min(initial=0) < 0 or indices.max(initial=-1) >= size:
        raise ProtocolError(
            f"indices of a sparse payload are not strictly ascending from 0 to {size - 1} in each row: "
            "sort them, and leave out repeated ones"
        )
    return _choose(gaps, counts, size)


def _choose(gaps: Ints, counts: Ints, size: int) -> tuple[Ints, Ints]:
    many = counts.tolist()
    first = [rice.first_parameter(count, size) for count in many]
    zeros = rice.zeros(gaps, counts, np.array(first, dtype=np.int64))
    codings, shortest = [], []
    for count, b, sums in zip(many, first, zeros.T.tolist(), strict=True):
        lengths = [(count * _width(size) + 7) // 8, (size + 7) // 8]
        lengths += [rice.nbytes(count, b + step, total) for step, total in enumerate(sums)]
        best = lengths.index(min(lengths))
        codings.append(best if best < RICE else best + b)
        shortest.append(lengths[best])
    return np.array(codings, dtype=np.int64), np.array(shortest, dtype=np.int64)


def encode(indices: Ints, offsets: Ints, codings: Ints, size: int) -> list[bytes]:
    """The bytes of each row; those of equal length and coding are made together.

    Args:
        indices: ``[nnz]``, as for :func:`choose`.
        offsets: ``[R + 1]``, where each row starts.
        codings: what :func:`choose` gave for each row, ``[R]``.
        size: the number of coordinates.
    """
    found = [b""] * len(codings)
    alike: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row, key in enumerate(zip(codings.tolist(), np.diff(offsets).tolist(), strict=True)):
        alike[key].append(row)
    starts = offsets.tolist()
    for (coding, count), rows in alike.items():
        for some in _pieces(rows, count):
            chosen = np.stack([indices[starts[row] : starts[row] + count] for row in some])
            for row, coded in zip(some, _encode(chosen, coding, size), strict=True):
                found[row] = coded
    return found


def _pieces(rows: Sequence[T], count: int) -> Iterator[Sequence[T]]:
    """Rows of ``count`` indices, as many as are made together."""
    step = max(1, TOGETHER // max(1, count))
    return (rows[first : first + step] for first in range(0, len(rows), step))


def _encode(indices: Ints, coding: int, size: int) -> list[bytes]:
    """The bytes of each row of ``indices [R, k]``."""
    if coding == PLAIN:
        return [row.tobytes() for row in bits.pack_rows(indices, _width(size))]
    if coding == BITMAP:
        return [_bitmap(row, size) for row in indices]
    return rice.encode(_gaps(indices), coding - RICE)


def _bitmap(indices: Ints, size: int) -> bytes:
    marks = np.zeros(size, dtype=np.uint8)
    marks[indices] = 1
    return np.packbits(marks, bitorder="little").tobytes()


def _gaps(indices: Ints) -> Ints:
    return rice.gaps_of(indices.reshape(-1), np.arange(len(indices) + 1) * indices.shape[1]).reshape(
        indices.shape
    )


def decode(readers: Sequence[Reader], coding: int, count: int, size: int) -> list[Ints | DecodeError]:
    """Read the ``count`` indices that are the rest of the bytes of each reader, ``[count]``.

    In place of indices that are not ascending within the size, or coded as no sender would, stands the error.
    """
    tails = [(reader.rest(), reader.limits) for reader in readers]
    found: list[Ints | DecodeError] = []
    for some in _pieces(tails, count):
        together = attempt(_decode, [Reader(*tail) for tail in some], coding, count, size)
        if isinstance(together, DecodeError):
            found.extend(attempt(_decode_one, Reader(*tail), coding, count, size) for tail in some)
        else:
            found.extend(together)
    return found


def _decode_one(reader: Reader, coding: int, count: int, size: int) -> Ints:
    indices: Ints = _decode([reader], coding, count, size)[0]
    return indices


def _decode(readers: Sequence[Reader], coding: int, count: int, size: int) -> Ints:
    """The indices ``[R, count]``; the error for several readers does not say which of them is wrong."""
    if coding in (PLAIN, BITMAP):
        indices = np.stack([_read_plain(reader, coding, count, size) for reader in readers])
        gaps = _gaps(indices)
        if gaps.min(initial=0) < 0:
            raise DecodeError("indices: not strictly ascending")
    else:
        gaps = rice.decode(readers, coding - RICE, count, size)
        indices = np.cumsum(gaps, axis=1)
        indices += np.arange(count)
    largest = indices[:, -1].max() if count else -1
    if largest >= size:
        raise DecodeError(f"indices: {largest} is outside the {size} coordinates")
    best = _choose(gaps.reshape(-1), np.full(len(gaps), count), size)[0]
    if (best != coding).any():
        raise DecodeError(f"index coding: {coding}, where every sender uses {best[0]} for these indices")
    return indices


def _read_plain(reader: Reader, coding: int, count: int, size: int) -> Ints:
    if coding == PLAIN:
        indices = reader.packed(count, _width(size), "indices")
    else:
        indices = np.flatnonzero(reader.flags(size, "bitmap"))
    reader.end()
    if len(indices) != count:
        raise DecodeError(f"bitmap: {len(indices)} bits are set, the message says {count}")
    return indices


def _width(size: int) -> int:
    return max(size - 1, 0).bit_length()
