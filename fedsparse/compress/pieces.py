"""Compressing what is computed only then, a few rows at a time: they are still in cache when they are compressed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from fedsparse.message import Payload, concatenate
from fedsparse.rng import Streams

if TYPE_CHECKING:
    from fedsparse.compress.base import Compressor, HasStreams

__all__ = ["Make", "compressed"]

Make = Callable[[slice], Tensor]
"""Makes these rows of a block."""

TOGETHER = 1 << 20
"""Entries of a piece, if it is more than one row."""


@dataclass(frozen=True)
class _Some:
    """The streams of some of the rows."""

    ctx: HasStreams
    rows: slice

    def rng(self, purpose: str) -> Streams:
        return self.ctx.rng(purpose)[self.rows]


def compressed(compressor: Compressor, make: Make, like: Tensor, ctx: HasStreams, stream: str) -> Payload:
    """The payload of what ``make`` gives, with the same bits as if all rows had been made at once.

    Args:
        compressor: takes each row by itself.
        make: makes some of the rows.
        like: as long and as wide as all rows, ``[C, d]``.
        ctx: gives the random streams, one for each row.
        stream: their purpose.
    """
    count, size = like.shape
    step = max(1, TOGETHER // max(1, size))
    if step >= count:
        return compressor.compress(make(slice(0, count)), ctx, stream)
    parts = []
    for first in range(0, count, step):
        rows = slice(first, first + step)
        parts.append(compressor.compress(make(rows), _Some(ctx, rows), stream))
    return concatenate(parts)
