"""Block top-k: the largest entries of every block of equal length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.compress.base import Compressor, HasStreams
from fedsparse.compress.counts import kept
from fedsparse.compress.rounding import VALUES, energy_kept, rounded
from fedsparse.compress.select import largest
from fedsparse.message import Sparse
from fedsparse.options import option

__all__ = ["BlockTopK"]


@dataclass(frozen=True)
class BlockTopK(Compressor):
    """Top-k in each block of B consecutive entries; a shorter last one keeps the fraction of its own length.

    Deterministic and biased. Contractive with delta = k_B/B, as top-k; no layer starves beside a louder one.
    """

    fraction: float = option(0.01, "share of a block's entries kept, k_B/B", above=0, at_most=1)
    k: int | None = option(None, "entries kept in a block, instead of the fraction", at_least=1)
    block: int = option(1024, "length of a block, B", at_least=1)
    values: str = option("same", "value type on the wire", choices=VALUES)

    def compress(self, x: Tensor, ctx: HasStreams, stream: str = "compress") -> Sparse:  # noqa: ARG002
        """The largest entries of each block of each row of ``x [C, d]``."""
        rows, size = x.shape
        parts, first = [], 0
        for count, length in self._blocks(size):
            stop = first + count * length
            blocks = x[:, first:stop].reshape(rows * count, length)
            starts = torch.arange(first, stop, length)[:, None]
            chosen = largest(blocks, self._kept(length)).reshape(rows, count, -1)
            parts.append((chosen + starts).reshape(rows, -1))
            first = stop
        indices = torch.cat(parts, dim=1)
        values, kind, scale = rounded(x.gather(1, indices), self.values)
        return Sparse.of(indices, values, size, kind, scale)

    def delta(self, size: int) -> float | None:
        """The smallest share kept of a block, less what rounding takes."""
        blocks = self._blocks(size)
        total = sum(count * self._kept(length) for count, length in blocks)
        return min(self._kept(length) / length for _, length in blocks) * energy_kept(self.values, total)

    def _blocks(self, size: int) -> list[tuple[int, int]]:
        """How many blocks of which length, in order: the whole ones, and what is left."""
        whole, rest = divmod(size, self.block)
        return [(count, length) for count, length in ((whole, self.block), (1, rest)) if count and length]

    def _kept(self, length: int) -> int:
        k = None if self.k is None else min(self.k, length)
        return kept(self.fraction, length, k)
