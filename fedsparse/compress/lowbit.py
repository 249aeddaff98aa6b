"""Low-bit rounding: coordinates rounded to the nearest of a few levels of the vector's largest magnitude."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.compress.base import Compressor, HasStreams
from fedsparse.compress.grid import in_steps
from fedsparse.compress.rows import max_norm
from fedsparse.message import Quantized
from fedsparse.options import option

__all__ = ["LowBit"]


@dataclass(frozen=True)
class LowBit(Compressor):
    """C(x)_i = M round(L x_i / M) / L with M = max|x| and L = 2^(bits-1) - 1; halves to even.

    Deterministic and biased. Contractive: M is exact, the d - 1 others are off by at most h = M / (2 L), and
    never by more than themselves. So ||C(x) - x||^2 <= t M^2 with t = (d-1) / (4 L^2), while ||x||^2 exceeds
    the error by at least M^2, and delta = 1 / (1 + t), which is above 1/d. Attained where all others are h.
    """

    bits: int = option(4, "bits of one coordinate, with its sign", at_least=2, at_most=16)

    @property
    def levels(self) -> int:
        """L, the levels of magnitude above zero."""
        return int(2 ** (self.bits - 1)) - 1

    def compress(self, x: Tensor, ctx: HasStreams, stream: str = "compress") -> Quantized:  # noqa: ARG002
        """Each row of ``x [C, d]`` on the grid of its own largest magnitude."""
        step = (max_norm(x) / self.levels).to(x.dtype)
        return Quantized(in_steps(x, step, self.levels).round_().to(torch.int32), step, self.levels)

    def delta(self, size: int) -> float | None:
        """1 / (1 + (d-1) / (4 L^2))."""
        return 1 / (1 + (size - 1) / (4 * self.levels**2))
