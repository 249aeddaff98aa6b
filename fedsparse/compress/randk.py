"""Random-k: a uniformly random subset of k entries, whose indices travel as a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedsparse.compress.base import Compressor, HasStreams
from fedsparse.compress.counts import kept
from fedsparse.compress.rounding import VALUES, energy_kept, is_exact, rounded
from fedsparse.message import SeededSparse
from fedsparse.options import option
from fedsparse.wire.seeded import k_subset

__all__ = ["RandK"]


@dataclass(frozen=True)
class RandK(Compressor):
    """Sends x on a random k-subset, drawn by each client for itself so that errors average out over clients.

    ``unbiased``: scaled by d/k, with omega = d/k - 1, which is the variance exactly. Its error exceeds the
    vector itself once d/k > 2, so it must not feed an error memory. Rounded values (fp16, bf16, int8) bias
    it.

    Otherwise not scaled: biased, contractive with delta = k/d, in expectation exactly.
    """

    fraction: float = option(0.01, "share of the entries kept, k/d", above=0, at_most=1)
    k: int | None = option(None, "entries kept, instead of the fraction", at_least=1)
    unbiased: bool = option(True, "scale by d/k, so that the mean is right")
    values: str = option("same", "value type on the wire", choices=VALUES)

    def compress(self, x: Tensor, ctx: HasStreams, stream: str = "compress") -> SeededSparse:
        """Each row of ``x [C, d]`` on the subset of its own seed."""
        size = x.shape[1]
        k = kept(self.fraction, size, self.k)
        seeds = ctx.rng(stream).seeds()
        support = torch.from_numpy(np.stack([k_subset(seed, k, size) for seed in seeds.tolist()]))
        chosen = x.gather(1, support)
        values, kind, scale = rounded(chosen * (size / k) if self.unbiased else chosen, self.values)
        return SeededSparse(seeds, values, size, kind, scale, support)

    def omega(self, size: int) -> float | None:
        """d/k - 1; ``None`` where it is not scaled, or where values are rounded."""
        if not self.unbiased or not is_exact(self.values):
            return None
        return size / kept(self.fraction, size, self.k) - 1

    def delta(self, size: int) -> float | None:
        """k/d, less what rounding takes; of the unbiased form 1 - omega where that is positive."""
        k = kept(self.fraction, size, self.k)
        if not self.unbiased:
            return k / size * energy_kept(self.values, k)
        omega = self.omega(size)
        return 1 - omega if omega is not None and omega < 1 else None
