"""Rows of any length whose places something else tells, such as a mask in the same message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from fedsparse.errors import ProtocolError
from fedsparse.wire import bits
from fedsparse.wire.payload import HEAD_BYTES, Payload, head
from fedsparse.wire.reader import Reader
from fedsparse.wire.sparse import pick_rows, starts_of
from fedsparse.wire.values import KINDS, pack_rows, resolve_kind, take_values, values_nbytes

__all__ = ["Ragged"]


@dataclass(frozen=True, eq=False)
class Ragged(Payload, code=11):
    """Values without places: each row as many as it has, in one list (CSR).

    Without the places a row counts as the vector of its values with zeros behind them.

    Attributes:
        values: ``[nnz]``, rounded to the kind that travels.
        offsets: ``[C + 1]`` int64, where each row starts.
        size: d, the most values that a row can have.
        kind: how a value travels; empty means the dtype's own, without rounding.
        scale: ``[C]`` for int8, else None.
    """

    values: Tensor
    offsets: Tensor
    size: int
    kind: str = ""
    scale: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", resolve_kind(self.kind, self.values, self.scale))
        longest = int(self.counts.max()) if self.rows else 0
        if self.values.numel() != int(self.offsets[-1]) or longest > self.size:
            raise ProtocolError(
                f"Ragged has {self.values.numel()} values, offsets that end at {int(self.offsets[-1])}, and a row of "
                f"{longest} values of at most {self.size}; the three must agree"
            )

    @classmethod
    def of(cls, x: Tensor, marks: Tensor) -> Self:
        """The values of ``x [C, d]`` where ``marks [C, d]`` is true."""
        return cls(x[marks], starts_of(marks.sum(1)), x.shape[1])

    @property
    def rows(self) -> int:
        """C, how many clients' values are in this batch."""
        return self.offsets.shape[0] - 1

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the dense vector."""
        return self.values.dtype

    @property
    def counts(self) -> Tensor:
        """How many values each row has, ``[C]`` int64."""
        return self.offsets.diff()

    def dense(self) -> Tensor:
        """The values of each row from its first place on, ``[C, d]``."""
        out = self.values.new_zeros(self.rows, self.size)
        out[torch.arange(self.size) < self.counts[:, None]] = self.values
        return out

    def select(self, rows: Tensor | slice) -> Self:
        """Some of the rows, by index (``[n]`` int64), mask (``[C]`` bool) or slice."""
        chosen = torch.arange(self.rows)[rows]
        offsets, at = pick_rows(self.offsets, chosen)
        scale = None if self.scale is None else self.scale[chosen]
        return type(self)(self.values[at], offsets, self.size, self.kind, scale)

    def nbytes(self) -> Tensor:
        """The exact length of each encoded row, ``[C]`` int64."""
        fixed = HEAD_BYTES + len(bits.varint(self.size)) + values_nbytes(self.kind, self.dtype, 0)
        return fixed + bits.varint_nbytes(self.counts) + self.counts * KINDS[self.kind][0]

    def encode(self, row: int) -> bytes:
        """Head, size, number of values, values."""
        alone = self.select(slice(row, row + 1))
        (values,) = pack_rows(alone.values, self.kind, alone.scale, [0, len(alone.values)])
        count = bits.varint(len(alone.values))
        return head(self.code, self.dtype, self.kind) + bits.varint(self.size) + count + values

    @classmethod
    def decode(cls, reader: Reader, dtype: torch.dtype, kind: str) -> Self:
        """Read one row after its head; see :meth:`Payload.decode`."""
        size = reader.size()
        values, scale = take_values(reader, reader.varint("count", size), kind, dtype)
        reader.end()
        values = values.flatten()
        return cls(values, torch.tensor([0, len(values)]), size, kind, scale)

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts, in order."""
        joined, first = cls._joined(parts), parts[0]
        offsets = starts_of(torch.cat([part.counts for part in parts]))
        return cls(joined["values"], offsets, first.size, first.kind, joined.get("scale"))
