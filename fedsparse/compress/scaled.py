"""The contractive version of an unbiased compressor."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedsparse.compress.base import Compressor, HasStreams
from fedsparse.compress.randk import RandK
from fedsparse.message import Payload
from fedsparse.options import option

__all__ = ["Scaled"]


@dataclass(frozen=True)
class Scaled(Compressor):
    """C(x / (1 + omega)): contractive with delta = 1 / (1 + omega) for every unbiased C, fit for memory.

    With a = 1 / (1 + omega) the error is the bias (1 - a) x and a variance of at most omega a^2 ||x||^2,
    together omega / (1 + omega) = 1 - delta. Where C(a x) = a C(x) it is C(x) / (1 + omega); RandK becomes x
    on the subset.
    """

    compressor: Compressor = option(RandK(), "the unbiased compressor")

    def compress(self, x: Tensor, ctx: HasStreams, stream: str = "compress") -> Payload:
        """The inner compressor's payload for each row of ``x [C, d]``, made smaller.

        Raises:
            ConfigError: the inner compressor is not unbiased.
        """
        return self.compressor.compress(self.compressor.damping(x.shape[1]) * x, ctx, stream)

    def delta(self, size: int) -> float | None:
        """1 / (1 + omega); ``None`` where the inner compressor is not unbiased."""
        return None if self.compressor.omega(size) is None else self.compressor.damping(size)
