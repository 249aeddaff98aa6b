"""Packing numbers into bits, without a loop over the numbers.

A number of w bits is stored as its low ``w // 8`` whole bytes, all numbers one after another, followed by the
``w % 8`` bits on top of them, eight numbers to a word. The length is ``ceil(n w / 8)``, and both parts are
whole-array operations.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["VARINT_BITS", "pack", "packed_nbytes", "unpack", "varint", "varint_nbytes"]

VARINT_BITS = 63
"""Numbers of variable length stay below 2**63."""


def packed_nbytes(count: int, width: int) -> int:
    """Bytes that ``count`` numbers of ``width`` bits take."""
    return (count * width + 7) // 8


def pack(numbers: NDArray[np.int64], width: int) -> bytes:
    """Pack unsigned numbers below ``2**width``, with ``width`` from 0 to 56."""
    whole, part = divmod(width, 8)
    words = numbers.astype("<u8", copy=False)
    low = words.view(np.uint8).reshape(-1, 8)[:, :whole].tobytes()
    return low + _pack_part((words >> np.uint64(8 * whole)).astype(np.uint8), part) if part else low


def unpack(data: bytes | memoryview, count: int, width: int) -> NDArray[np.int64]:
    """Undo :func:`pack`; ``data`` has exactly ``packed_nbytes(count, width)`` bytes."""
    whole, part = divmod(width, 8)
    split = count * whole
    words = np.zeros(count, dtype="<u8")
    low = np.frombuffer(data, dtype=np.uint8, count=split)
    words.view(np.uint8).reshape(-1, 8)[:, :whole] = low.reshape(count, whole)
    if part:
        words |= _unpack_part(data[split:], count, part).astype(np.uint64) << np.uint64(8 * whole)
    return words.view("<i8")


def _repeated(width: int, period: int) -> np.uint64:
    """A mask: the low ``width`` bits of every ``period``."""
    return np.uint64(sum(((1 << width) - 1) << at for at in range(0, 64, period)))


def _pack_part(numbers: NDArray[np.uint8], width: int) -> bytes:
    padded = np.zeros(-(-numbers.size // 8) * 8, dtype=np.uint8)
    padded[: numbers.size] = numbers
    words = padded.view("<u8")
    # Close the gaps between neighbours: pairs of bytes, then of pairs, then of fours.
    for lane in (8, 16, 32):
        even = _repeated(lane, 2 * lane)
        words = words & even | (words & ~even) >> np.uint64(lane - lane * width // 8)
    return words.view(np.uint8).reshape(-1, 8)[:, :width].tobytes()[: packed_nbytes(numbers.size, width)]


def _unpack_part(data: bytes | memoryview, count: int, width: int) -> NDArray[np.uint8]:
    groups = -(-count // 8)
    padded = np.zeros(groups * width, dtype=np.uint8)
    padded[: len(data)] = np.frombuffer(data, dtype=np.uint8)
    spread = np.zeros((groups, 8), dtype=np.uint8)
    spread[:, :width] = padded.reshape(groups, width)
    words = spread.view("<u8")[:, 0]
    for lane in (32, 16, 8):
        used = lane * width // 8
        low = _repeated(used, 2 * lane)
        words = words & low | (words << np.uint64(lane - used)) & (low << np.uint64(lane))
    return words.view(np.uint8)[:count]


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
    steps = 2 ** torch.arange(7, VARINT_BITS, 7, dtype=torch.int64)
    return 1 + torch.bucketize(numbers, steps, right=True)
