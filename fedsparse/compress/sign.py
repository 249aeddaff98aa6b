"""Signs with the mean magnitude as scale.

Bernstein et al., "signSGD", 2018; with scale and memory: Karimireddy et al., "Error feedback fixes SignSGD
and other gradient compression schemes", 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedsparse import message
from fedsparse.compress.base import Compressor, HasStreams
from fedsparse.compress.rows import mean_magnitudes
from fedsparse.options import option

__all__ = ["Sign"]


@dataclass(frozen=True)
class Sign(Compressor):
    """C(x) = (||x||_1 / d) sign(x), for the whole vector or for each block of it by itself.

    Deterministic and biased: one bit for each coordinate. ||C(x) - x||^2 = ||x||^2 - ||x||_1^2 / d exactly,
    so it is contractive with delta = ||x||_1^2 / (d ||x||^2): 2/pi for Gaussian vectors, 1/d for a single
    entry.
    """

    block: int | None = option(None, "entries that share a scale, at most; all of them if none", at_least=1)

    def compress(self, x: Tensor, ctx: HasStreams, stream: str = "compress") -> message.Sign:  # noqa: ARG002
        """Signs and mean magnitudes of each row of ``x [C, d]``; a zero counts as positive."""
        return message.Sign(x >= 0, mean_magnitudes(x, self._length(x.shape[1])).to(x.dtype))

    def delta(self, size: int) -> float | None:
        """1/d, d being the length of a block, in the worst case."""
        return 1 / self._length(size)

    def _length(self, size: int) -> int:
        """The length of all blocks but the last: as few blocks as ``block`` allows, as equal as can be."""
        blocks = 1 if self.block is None else -(-size // self.block)
        return -(-size // blocks)
