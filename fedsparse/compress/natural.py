"""Natural compression: every coordinate becomes one of the two powers of two around it, at random.

Horváth et al., "Natural compression for distributed deep learning", 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.compress.base import Compressor, HasStreams
from fedsparse.message import Exponents

__all__ = ["Natural"]

SMALLEST = 2.0**-126
LARGEST = 2.0**127


@dataclass(frozen=True)
class Natural(Compressor):
    """Sign and exponent, nine bits for each coordinate; the upper power is taken with the right probability.

    Unbiased with omega = 1/8, attained by |x_i| = 4/3 of a power of two, for coordinates from 2^-126 to 2^127
    in size. Smaller ones become 0 or 2^-126, still unbiased; larger ones become 2^127.
    """

    def compress(self, x: Tensor, ctx: HasStreams, stream: str = "compress") -> Exponents:
        """Powers of two for each row of ``x [C, d]``."""
        magnitude = x.abs()
        normal = magnitude >= SMALLEST
        # A number over its mantissa is the power of two below it, exactly, and so the gap to the one above.
        mantissa, _ = torch.frexp(magnitude)
        gap = torch.where(normal, magnitude / (2 * mantissa), SMALLEST)
        below = torch.where(normal, gap, 0)
        above = ctx.rng(stream).uniform(x.shape[1], x.dtype) < (magnitude - below) / gap
        power = torch.where(above, below + gap, below).clamp_(max=LARGEST)
        return Exponents.of(torch.where(x.isfinite(), power.copysign(x), x))

    def omega(self, size: int) -> float | None:  # noqa: ARG002
        """1/8."""
        return 1 / 8

    def delta(self, size: int) -> float | None:  # noqa: ARG002
        """7/8, as the variance is at most an eighth."""
        return 7 / 8
