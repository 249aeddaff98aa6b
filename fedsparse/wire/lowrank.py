"""Matrices of low rank, as their two factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.wire import bits
from fedsparse.wire.payload import HEAD_BYTES, Payload, head
from fedsparse.wire.reader import Reader
from fedsparse.wire.values import pack_values, resolve_kind, take_values, values_nbytes

__all__ = ["LowRank"]


@dataclass(frozen=True, eq=False)
class LowRank(Payload, code=7):
    """A product of two thin matrices, flattened: ``(left @ right.mT).flatten()``.

    Attributes:
        left: ``[C, m, r]``, rounded to the kind that travels.
        right: ``[C, n, r]``, likewise.
        kind: how a number travels; empty means the dtype's own, without rounding. Not int8.
    """

    left: Tensor
    right: Tensor
    kind: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", resolve_kind(self.kind, self.left, None))
        if (
            0 in self._shape
            or self.left.shape[::2] != self.right.shape[::2]
            or self.left.dtype != self.right.dtype
        ):
            raise ProtocolError(
                f"LowRank has factors {tuple(self.left.shape)} of {self.left.dtype} and "
                f"{tuple(self.right.shape)} of {self.right.dtype}; needed are [C, m, r] and [C, n, r] of one "
                "dtype, with m, n, r at least 1"
            )

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.left.shape[1], self.right.shape[1], self.left.shape[2]

    @property
    def rows(self) -> int:
        """C, how many clients' values are in this batch."""
        return self.left.shape[0]

    @property
    def size(self) -> int:
        """d, the length of the dense vector."""
        return self.left.shape[1] * self.right.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the dense vector."""
        return self.left.dtype

    def dense(self) -> Tensor:
        """The full matrices, flattened, ``[C, m * n]``."""
        # Rank by rank, each operation elementwise: a matrix product rounds by how its memory happens to lie.
        m, n, r = self._shape
        out = self.left.new_zeros(self.rows, m, n)
        for rank in range(r):
            out += self.left[:, :, rank, None] * self.right[:, None, :, rank]
        return out.flatten(1)

    def nbytes(self) -> Tensor:
        """The exact length of each encoded row, ``[C]`` int64; all are equal."""
        m, n, r = self._shape
        numbers = sum(len(bits.varint(number)) for number in (m, n, r))
        length = HEAD_BYTES + numbers + values_nbytes(self.kind, self.dtype, (m + n) * r)
        return torch.full((self.rows,), length, dtype=torch.int64)

    def encode(self, row: int) -> bytes:
        """Head, m, n, r, left factor, right factor, row by row."""
        numbers = b"".join(bits.varint(number) for number in self._shape)
        factors = torch.cat((self.left[row].flatten(), self.right[row].flatten()))
        return head(self.code, self.dtype, self.kind) + numbers + pack_values(factors, self.kind, None)

    @classmethod
    def decode(cls, reader: Reader, dtype: torch.dtype, kind: str) -> Self:
        """Read one row after its head; see :meth:`Payload.decode`."""
        if kind == "int8":
            raise DecodeError("kind: int8, which low-rank factors do not have")
        most = reader.limits.max_size
        m, n, r = (reader.varint(field, most) for field in ("left rows", "right rows", "rank"))
        if 0 in (m, n, r) or m * n > most:
            raise DecodeError(
                f"shape: {m} x {n} of rank {r}; at least 1 each and at most {most} coordinates are allowed"
            )
        values, _ = take_values(reader, (m + n) * r, kind, dtype)
        reader.end()
        left, right = values[:, : m * r], values[:, m * r :]
        return cls(left.reshape(1, m, r), right.reshape(1, n, r), kind)
