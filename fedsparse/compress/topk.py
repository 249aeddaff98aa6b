"""Top-k: the k entries of largest magnitude."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedsparse.compress.base import Compressor, HasStreams
from fedsparse.compress.counts import kept
from fedsparse.compress.rounding import VALUES, energy_kept, rounded
from fedsparse.compress.select import largest
from fedsparse.message import Sparse
from fedsparse.options import option

__all__ = ["TopK"]


@dataclass(frozen=True)
class TopK(Compressor):
    """Keeps exactly k entries, the largest by magnitude; of equal ones the lowest index.

    Deterministic and biased. Contractive with delta = k/d, attained by vectors of constant magnitude; a
    Gaussian vector and k = d/100 have 0.085. Made for error feedback, see
    :meth:`~fedsparse.compress.Compressor.with_memory`.
    """

    fraction: float = option(0.01, "share of the entries kept, k/d", above=0, at_most=1)
    k: int | None = option(None, "entries kept, instead of the fraction", at_least=1)
    values: str = option("same", "value type on the wire", choices=VALUES)

    def compress(self, x: Tensor, ctx: HasStreams, stream: str = "compress") -> Sparse:  # noqa: ARG002
        """The k largest entries of each row of ``x [C, d]``."""
        size = x.shape[1]
        indices = largest(x, kept(self.fraction, size, self.k))
        values, kind, scale = rounded(x.gather(1, indices), self.values)
        return Sparse.of(indices, values, size, kind, scale)

    def delta(self, size: int) -> float | None:
        """k/d, less what rounding takes."""
        k = kept(self.fraction, size, self.k)
        return k / size * energy_kept(self.values, k)
