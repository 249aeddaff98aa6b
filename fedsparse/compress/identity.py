"""No compression: every entry, in a chosen value type."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedsparse.compress.base import Compressor, HasStreams
from fedsparse.compress.rounding import VALUES, energy_kept, is_exact, rounded
from fedsparse.message import Dense
from fedsparse.options import option

__all__ = ["Identity"]


@dataclass(frozen=True)
class Identity(Compressor):
    """C(x) = x, or x rounded to the type that travels.

    Unbiased with omega = 0 where nothing is rounded; contractive with delta = 1, less what rounding takes.
    """

    values: str = option("same", "value type on the wire", choices=VALUES)

    def compress(self, x: Tensor, ctx: HasStreams, stream: str = "compress") -> Dense:  # noqa: ARG002
        """All entries of each row of ``x [C, d]``."""
        values, kind, scale = rounded(x, self.values)
        return Dense(values, kind, scale)

    def omega(self, size: int) -> float | None:  # noqa: ARG002
        """0, or ``None`` where values are rounded."""
        return 0.0 if is_exact(self.values) else None

    def delta(self, size: int) -> float | None:
        """1, less what rounding takes."""
        return energy_kept(self.values, size)
