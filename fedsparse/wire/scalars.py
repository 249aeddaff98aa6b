"""Numbers that a strategy wants recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.wire import bits
from fedsparse.wire.payload import HEAD_BYTES, Payload, head
from fedsparse.wire.reader import Reader
from fedsparse.wire.values import pack_values, take_values

__all__ = ["Scalars"]


@dataclass(frozen=True, eq=False)
class Scalars(Payload, code=8):
    """A few numbers for each client, at full precision.

    Attributes:
        values: ``[C, s]`` float64.
    """

    values: Tensor

    def __post_init__(self) -> None:
        if self.values.dtype != torch.float64:
            raise ProtocolError(f"Scalars.values are {self.values.dtype}; they must be torch.float64")

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
        return torch.float64

    def dense(self) -> Tensor:
        """``values``, not copied."""
        return self.values

    def nbytes(self) -> Tensor:
        """The exact length of each encoded row, ``[C]`` int64; all are equal."""
        length = HEAD_BYTES + len(bits.varint(self.size)) + 8 * self.size
        return torch.full((self.rows,), length, dtype=torch.int64)

    def encode(self, row: int) -> bytes:
        """Head, size, values."""
        return (
            head(self.code, self.dtype) + bits.varint(self.size) + pack_values(self.values[row], "fp64", None)
        )

    @classmethod
    def decode(cls, reader: Reader, dtype: torch.dtype, kind: str) -> Self:
        """Read one row after its head; see :meth:`Payload.decode`."""
        if dtype != torch.float64 or kind != "fp64":
            raise DecodeError(f"kind: {kind} for {dtype}; scalars are fp64 for torch.float64")
        values, _ = take_values(reader, reader.size(), kind, dtype)
        reader.end()
        return cls(values)
