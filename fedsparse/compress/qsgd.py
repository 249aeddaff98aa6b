"""Random dithering: coordinates rounded at random to one of s levels of the vector's norm (QSGD, TernGrad).

Alistarh et al., "QSGD: Communication-efficient SGD via gradient quantization and encoding", 2017; Wen et al.,
"TernGrad: ternary gradients to reduce communication in distributed deep learning", 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from fedsparse.compress.base import Compressor, HasStreams
from fedsparse.compress.dither import dithered
from fedsparse.compress.rows import l2_norm, max_norm
from fedsparse.message import Quantized
from fedsparse.options import option

__all__ = ["QSGD"]


@dataclass(frozen=True)
class QSGD(Compressor):
    """C(x)_i = N sign(x_i) xi_i / s, with xi_i = s |x_i| / N rounded down or up at random, right in the mean.

    Unbiased for both norms N; the probabilities are those of the arithmetic.

    ``norm="l2"``: omega = min(d/s^2, sqrt(d)/s); few coordinates are not zero when s is small.

    ``norm="max"``: omega = (sqrt(1 + (d-1)/s^2) - 1) / 2. Against ||x||^2 the variance is largest when all
    coordinates but the largest are one a <= 1/s of it; each then adds a/s - a^2, and the best a gives this
    omega. With s = 1 it is TernGrad, and omega = (sqrt(d) - 1) / 2.
    """

    levels: int = option(4, "levels of magnitude above zero, s", at_least=1, at_most=2**20)
    norm: str = option("l2", "the norm that a level is a share of", choices=("l2", "max"))

    def compress(self, x: Tensor, ctx: HasStreams, stream: str = "compress") -> Quantized:
        """Each row of ``x [C, d]`` on the grid of its own norm."""
        norm = l2_norm(x) if self.norm == "l2" else max_norm(x)
        step = (norm / self.levels).to(x.dtype)
        codes = dithered(x, step, self.levels, ctx.rng(stream).generators)
        return Quantized(codes, step, self.levels)

    def omega(self, size: int) -> float | None:
        """The bound of the norm chosen."""
        s = self.levels
        if self.norm == "max":
            return (math.sqrt(1 + (size - 1) / s**2) - 1) / 2
        return min(size / s**2, math.sqrt(size) / s)

    def delta(self, size: int) -> float | None:
        """1 - omega where that is positive."""
        omega = self.omega(size)
        return 1 - omega if omega is not None and omega < 1 else None
