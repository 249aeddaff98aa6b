"""Packing numbers into bits, without a loop over the numbers.

A number of w bits is stored as its low ``w // 8`` whole bytes, all numbers one after another, followed by the
``w % 8`` bits on top of them, eight numbers to a word. The length is ``ceil(n w / 8)``, and both parts are
whole-array operations, for many rows at once.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "VARINT_BITS",
    "nonzero",
    "pack",
    "pack_rows",
    "packed_nbytes",
    "unpack",
    "unpack_rows",
    "varint",
    "varint_nbytes",
]

VARINT_BITS = 63
"""Numbers of variable length stay below 2**63."""

Bytes = NDArray[np.uint8]

_STEPS = 2 ** torch.arange(7, VARINT_BITS, 7, dtype=torch.int64)
"""The numbers from which on a varint has another byte."""


def nonzero(numbers: NDArray[Any]) -> NDArray[np.int64]:
    """Where ``numbers [n]`` of at most 64 bits are not zero; quick where most are zeros, word after word."""
    group = 8 // numbers.itemsize
    rest = numbers.size % group
    whole = numbers[: numbers.size - rest]
    some = np.flatnonzero(whole.view(np.uint64) != 0)
    within = np.flatnonzero(whole.reshape(-1, group).take(some, axis=0) != 0)
    at: NDArray[np.int64] = some.take(within // group) * group + within % group
    return np.concatenate((at, np.flatnonzero(numbers[whole.size :]) + whole.size)) if rest else at


def packed_nbytes(count: int, width: int) -> int:
    """Bytes that ``count`` numbers of ``width`` bits take."""
    return (count * width + 7) // 8


def pack(numbers: NDArray[np.int64], width: int) -> bytes:
    """Pack unsigned numbers ``[n]`` below ``2**width``, with ``width`` from 0 to 56."""
    return pack_rows(numbers[None], width).tobytes()


def pack_rows(numbers: NDArray[np.int64], width: int) -> Bytes:
    """:func:`pack` for each row of ``numbers [R, n]``: ``[R, packed_nbytes(n, width)]``."""
    rows, count = numbers.shape
    whole, part = divmod(width, 8)
    words = numbers.astype("<u8", order="C", copy=False)
    if not whole:
        return _pack_part(words.astype(np.uint8), part)
    low: Bytes = words.view(np.uint8).reshape(rows, count, 8)[:, :, :whole].reshape(rows, count * whole)
    if not part:
        return low
    top = _pack_part((words >> np.uint64(8 * whole)).astype(np.uint8), part)
    return np.concatenate((low, top), axis=1)


def unpack(data: bytes | memoryview, count: int, width: int) -> NDArray[np.int64]:
    """Undo :func:`pack`; ``data`` has exactly ``packed_nbytes(count, width)`` bytes."""
    numbers: NDArray[np.int64] = unpack_rows(np.frombuffer(data, dtype=np.uint8)[None], count, width)[0]
    return numbers


def unpack_rows(data: Bytes, count: int, width: int) -> NDArray[np.int64]:
    """Undo :func:`pack_rows`: from ``[R, packed_nbytes(count, width)]`` to ``[R, count]``."""
    whole, part = divmod(width, 8)
    if not whole:
        return _unpack_part(data, count, part).astype(np.int64)
    words = np.zeros((len(data), count, 8), dtype=np.uint8)
    words[:, :, :whole] = data[:, : count * whole].reshape(len(data), count, whole)
    if part:
        words[:, :, whole] = _unpack_part(data[:, count * whole :], count, part)
    numbers: NDArray[np.int64] = words.view("<i8")[:, :, 0]
    return numbers


@cache
def _repeated(width: int, period: int) -> np.uint64:
    """A mask: the low ``width`` bits of every ``period``."""
    return np.uint64(sum(((1 << width) - 1) << at for at in range(0, 64, period)))


def _pack_part(numbers: Bytes, width: int) -> Bytes:
    rows, count = numbers.shape
    groups = -(-count // 8)
    padded = np.zeros((rows, groups * 8), dtype=np.uint8)
    padded[:, :count] = numbers
    words = padded.view("<u8")
    # Close the gaps between neighbours: pairs of bytes, then of pairs, then of fours.
    for lane in (8, 16, 32):
        even = words & _repeated(lane, 2 * lane)
        words ^= even
        words >>= np.uint64(lane - lane * width // 8)
        words |= even
    packed = padded.reshape(rows, groups, 8)[:, :, :width].reshape(rows, groups * width)
    return packed[:, : packed_nbytes(count, width)]


def _unpack_part(data: Bytes, count: int, width: int) -> Bytes:
    rows, length = data.shape
    groups = -(-count // 8)
    spread = np.zeros((rows, groups, 8), dtype=np.uint8)
    full = length // width if width else groups
    spread[:, :full, :width] = data[:, : full * width].reshape(rows, full, width)
    if full < groups:
        spread[:, full, : length - full * width] = data[:, full * width :]
    words = spread.view("<u8")
    for lane in (32, 16, 8):
        used = lane * width // 8
        low = words & _repeated(used, 2 * lane)
        words ^= low
        words <<= np.uint64(lane - used)
        words |= low
    return spread.reshape(rows, groups * 8)[:, :count]


def varint(number: int) -> bytes:
    """A number from 0 to ``2**63 - 1``, seven bits to a byte, low ones first (LEB128)."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def varint_nbytes(numbers: Tensor) -> Tensor:
    """Lengths of the :func:`varint` of each number, int64 of the same shape."""
    return 1 + torch.bucketize(numbers, _STEPS, right=True)
