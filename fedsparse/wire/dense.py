"""Every coordinate of a vector; or, when the receiver knows the support, every coordinate on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from fedsparse.wire import bits
from fedsparse.wire.payload import HEAD_BYTES, Payload, head
from fedsparse.wire.reader import Reader
from fedsparse.wire.values import pack_values, resolve_kind, take_values, values_nbytes

__all__ = ["Dense", "MaskedDense"]


@dataclass(frozen=True, eq=False)
class _Plain(Payload):
    values: Tensor
    kind: str = ""
    scale: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", resolve_kind(self.kind, self.values, self.scale))

    @property
    def rows(self) -> int:
        """C, how many clients' values are in this batch."""
        return self.values.shape[0]

    @property
    def size(self) -> int:
        """d, the length of the dense vector."""
        return self.values.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the dense vector."""
        return self.values.dtype

    def nbytes(self) -> Tensor:
        """The exact length of each encoded row, ``[C]`` int64; all are equal."""
        length = HEAD_BYTES + len(bits.varint(self.size)) + values_nbytes(self.kind, self.dtype, self.size)
        return torch.full((self.rows,), length, dtype=torch.int64)

    def encode(self, row: int) -> bytes:
        """Head, size, values."""
        scale = None if self.scale is None else self.scale[row]
        body = pack_values(self.values[row], self.kind, scale)
        return head(self.code, self.dtype, self.kind) + bits.varint(self.size) + body

    @classmethod
    def decode(cls, reader: Reader, dtype: torch.dtype, kind: str) -> Self:
        """Read one row after its head; see :meth:`Payload.decode`."""
        values, scale = take_values(reader, reader.size(), kind, dtype)
        reader.end()
        return cls(values, kind, scale)


@dataclass(frozen=True, eq=False)
class Dense(_Plain, code=0):
    """All coordinates.

    Attributes:
        values: ``[C, d]``, rounded to the kind that travels (see :func:`~fedsparse.wire.values.round_to`).
        kind: how a value travels; empty means the dtype's own, without rounding.
        scale: ``[C]`` for int8, else None.
    """

    def dense(self) -> Tensor:
        """``values``, not copied."""
        return self.values


@dataclass(frozen=True, eq=False)
class MaskedDense(_Plain, code=1):
    """The coordinates on a support that the receiver knows already, such as a mask that was agreed on.

    Without the support, a row counts as the vector of its k values.

    Attributes:
        values: ``[C, k]``, rounded to the kind that travels, in the order of the support.
        kind: how a value travels; empty means the dtype's own, without rounding.
        scale: ``[C]`` for int8, else None.
    """

    def dense(self, support: Tensor | None = None, size: int | None = None) -> Tensor:
        """The full vectors, ``[C, size]``, or without arguments the values ``[C, k]``.

        Args:
            support: distinct indices, ``[k]`` for all rows or ``[C, k]``, int64.
            size: length of the full vector.
        """
        if support is None or size is None:
            return self.values
        out = self.values.new_zeros(self.rows, size)
        return out.scatter_(1, support.expand(self.rows, -1), self.values)
