"""Threshold: the entries that are large enough, however many they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.compress.base import Compressor, HasStreams
from fedsparse.compress.rounding import VALUES, energy_kept, rounded
from fedsparse.message import Sparse
from fedsparse.options import option

__all__ = ["Threshold"]


@dataclass(frozen=True)
class Threshold(Compressor):
    """Keeps the entries with |x_i| >= t and x_i != 0; each row has its own number of them.

    Relative, t = a max|x|: contractive. The largest entry M is kept and the d - 1 others lose at most (a M)^2
    each, so delta = 1 / (1 + (d - 1) a^2), which is 1/d for a = 1.

    Absolute: ||C(x) - x||^2 <= t^2 (d - kept), which bounds the error but not its share of ||x||^2. Neither
    unbiased nor contractive, and C(a x) is not a C(x).
    """

    relative: float = option(0.1, "smallest magnitude kept, in shares a of the largest", above=0, at_most=1)
    absolute: float | None = option(None, "smallest magnitude kept t, instead of the relative one", above=0)
    values: str = option("same", "value type on the wire", choices=VALUES)

    def compress(self, x: Tensor, ctx: HasStreams, stream: str = "compress") -> Sparse:  # noqa: ARG002
        """The entries of each row of ``x [C, d]`` that reach the threshold."""
        size = x.shape[1]
        magnitudes = x.abs()
        # "Not below" and not "at least": NaN is kept, for the receiver to see.
        large = ~(magnitudes < self._level(magnitudes)) & (x != 0)
        counts = large.sum(dim=1)
        offsets = torch.cat((counts.new_zeros(1), counts.cumsum(0)))
        values, kind, scale = rounded(x[large], self.values, offsets)
        return Sparse(large.nonzero()[:, 1].contiguous(), values, offsets, size, kind, scale)

    def delta(self, size: int) -> float | None:
        """1 / (1 + (d - 1) a^2), less what rounding takes; ``None`` for an absolute threshold."""
        if self.absolute is not None:
            return None
        return energy_kept(self.values, size) / (1 + (size - 1) * self.relative**2)

    def _level(self, magnitudes: Tensor) -> Tensor | float:
        """The smallest magnitude kept: a number, or ``[C, 1]``."""
        if self.absolute is not None:
            return self.absolute
        return self.relative * magnitudes.amax(dim=1, keepdim=True)
