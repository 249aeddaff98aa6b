"""Another value for each neighbour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.wire import bits
from fedsparse.wire.dense import Dense
from fedsparse.wire.payload import HEAD_BYTES, Payload, concatenate, decode_row, head
from fedsparse.wire.reader import Reader
from fedsparse.wire.sparse import pick_rows, starts_of

__all__ = ["PerEdge"]


@dataclass(frozen=True, eq=False)
class PerEdge(Payload, code=9):
    """A row for each pair of a sender and a neighbour; a row of the batch is all that one sender sends.

    What one neighbour gets is a row of ``payload``, with ``payload.nbytes()`` its length. :meth:`dense` and
    :meth:`accumulate` go by these E rows; all else goes by sender.

    Attributes:
        payload: E rows, those of a sender one after another, in the order of its neighbours.
        offsets: ``[C + 1]`` int64, where each sender's rows start.
    """

    payload: Payload
    offsets: Tensor

    def __post_init__(self) -> None:
        if isinstance(self.payload, PerEdge) or int(self.offsets[-1]) != self.payload.rows:
            raise ProtocolError(
                f"PerEdge has {type(self.payload).__name__} of {self.payload.rows} rows and offsets that end "
                f"at {int(self.offsets[-1])}; the two must agree, and PerEdge does not hold another PerEdge"
            )

    @property
    def rows(self) -> int:
        """C, how many clients' values are in this batch."""
        return self.offsets.shape[0] - 1

    @property
    def size(self) -> int:
        """d, the length of the dense vector."""
        return self.payload.size

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the dense vector."""
        return self.payload.dtype

    def dense(self) -> Tensor:
        """What the receivers decode, ``[E, d]``."""
        return self.payload.dense()

    def select(self, rows: Tensor | slice) -> PerEdge:
        """Some of the senders, by index (``[n]`` int64), mask (``[C]`` bool) or slice."""
        offsets, edges = pick_rows(self.offsets, torch.arange(self.rows)[rows])
        return PerEdge(self.payload.select(edges), offsets)

    def accumulate(self, out: Tensor, coefficients: Tensor) -> None:
        """Add ``coefficients[e]`` times row e of ``payload`` to ``out`` ``[d]``, in place, ascending."""
        self.payload.accumulate(out, coefficients)

    def finite(self) -> Tensor:
        """Which senders' rows are all finite, ``[C]`` bool."""
        return self._sums((~self.payload.finite()).long()) == 0

    def norm(self) -> Tensor:
        """Euclidean norms of all that each sender sends, ``[C]`` float64."""
        return self._sums(self.payload.norm() ** 2).sqrt()

    def _sums(self, edges: Tensor) -> Tensor:
        senders = torch.arange(self.rows).repeat_interleave(self.offsets.diff())
        return edges.new_zeros(self.rows).index_add_(0, senders, edges)

    def nbytes(self) -> Tensor:
        """The exact length of each encoded sender, ``[C]`` int64."""
        lengths = self.payload.nbytes()
        counts = bits.varint_nbytes(self.offsets.diff())
        return HEAD_BYTES + counts + self._sums(lengths + bits.varint_nbytes(lengths))

    def encode(self, row: int) -> bytes:
        """Head, number of neighbours; then length and bytes of each row."""
        start, end = int(self.offsets[row]), int(self.offsets[row + 1])
        parts = [self.payload.encode(edge) for edge in range(start, end)]
        framed = b"".join(bits.varint(len(part)) + part for part in parts)
        return head(self.code, torch.float32) + bits.varint(end - start) + framed

    @classmethod
    def decode(cls, reader: Reader, dtype: torch.dtype, kind: str) -> Self:
        """Read one row after its head; see :meth:`Payload.decode`."""
        if dtype != torch.float32 or kind != "fp32":
            raise DecodeError(
                f"kind: {kind} for {dtype}; values per neighbour are marked fp32, each row has its own"
            )
        count = reader.varint("neighbours", reader.left)
        parts = [_decode_edge(reader) for _ in range(count)]
        reader.end()
        offsets = torch.tensor((0, count), dtype=torch.int64)
        try:
            # Nobody to send to: an empty batch stands for a class that is not known.
            return cls(concatenate(parts) if parts else Dense(torch.empty(0, 0)), offsets)
        except ProtocolError as error:
            raise DecodeError(f"neighbours: {error}") from error

    @classmethod
    def concatenate(cls, parts: Sequence[PerEdge]) -> PerEdge:
        """The senders of all parts, in order."""
        filled = [part.payload for part in parts if part.payload.rows] or [parts[0].payload]
        counts = torch.cat([part.offsets.diff() for part in parts])
        return PerEdge(concatenate(filled), starts_of(counts))


def _decode_edge(reader: Reader) -> Payload:
    row = decode_row(reader.part("neighbour"))
    if isinstance(row, PerEdge):
        raise DecodeError("neighbour: values per neighbour inside of values per neighbour")
    return row
