"""Natural compression: every coordinate becomes one of the two powers of two around it, at random.

Horváth et al., "Natural compression for distributed deep learning", 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedsparse.compress.base import Compressor, HasStreams
from fedsparse.message import Exponents
from fedsparse.rng import octets

__all__ = ["Natural"]

SMALLEST = 2.0**-126
LARGEST = 2.0**127

MANTISSA = 23
"""Bits of a float32 below its exponent."""

OPEN = np.uint32(0xFF << MANTISSA - 8)
"""The upper eight of them: all are ones where a byte more did not decide whether there is a carry."""


@dataclass(frozen=True)
class Natural(Compressor):
    """Sign and exponent, nine bits for each coordinate; the upper power is taken with the right probability.

    Unbiased with omega = 1/8, attained by |x_i| = 4/3 of a power of two, for coordinates from 2^-126 to 2^127
    in size. Smaller ones become 0 or 2^-126, still unbiased; larger ones become 2^127.
    """

    def compress(self, x: Tensor, ctx: HasStreams, stream: str = "compress") -> Exponents:
        """Powers of two for each row of ``x [C, d]``."""
        codes = np.empty(x.shape, np.int16)
        for row, generator, into in zip(x.detach().numpy(), ctx.rng(stream).generators, codes, strict=True):
            _write(row, generator, into)
        return Exponents(torch.from_numpy(codes), x.dtype == torch.float64)

    def omega(self, size: int) -> float | None:  # noqa: ARG002
        """1/8."""
        return 1 / 8

    def delta(self, size: int) -> float | None:  # noqa: ARG002
        """7/8, as the variance is at most an eighth."""
        return 7 / 8


def _write(
    row: npt.NDArray[np.floating], generator: np.random.Generator, into: npt.NDArray[np.int16]
) -> None:
    """Writes sign and exponent of each of ``row [d]``, rounded up with the share of the mantissa in its range.

    That is a carry from the mantissa, when a uniform number of as many bits is added to it. The upper eight bits of
    that number decide in 255 cases of 256.
    """
    narrow = _towards_zero(row)
    bits = narrow.view(np.uint32)
    total = octets(generator, len(row)).astype(np.uint32)
    total <<= MANTISSA - 8
    total += bits
    open_ = np.flatnonzero((total & OPEN) == OPEN)
    total >>= MANTISSA
    into[:] = total
    into[open_] += generator.random(len(open_)) < _left(row.take(open_), bits.take(open_))
    magnitude = np.abs(narrow)
    if not magnitude.max(initial=0) < LARGEST:
        odd = np.flatnonzero(~(magnitude < LARGEST))
        into[odd] = bits.take(odd) >> MANTISSA


def _left(x: npt.NDArray[np.floating], bits: npt.NDArray[np.uint32]) -> npt.NDArray[np.floating]:
    """What the mantissas of ``x [n]`` have below their upper eight bits, as a share of the last of these."""
    below = (bits & np.uint32(0x7F80_0000)).view(np.float32).astype(x.dtype)
    parts = (np.abs(x) - below) / np.maximum(below, SMALLEST) * 256
    left: npt.NDArray[np.floating] = parts - np.floor(parts)
    return left


def _towards_zero(row: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """The float32 next to each, in the direction of zero."""
    if row.dtype == np.float32:
        return np.ascontiguousarray(row)
    with np.errstate(over="ignore"):
        narrow = row.astype(np.float32)
    return np.where(np.abs(narrow) > np.abs(row), np.nextafter(narrow, np.float32(0)), narrow)
