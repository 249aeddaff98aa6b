"""Signs with a scale for each block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.wire import bits
from fedsparse.wire.payload import HEAD_BYTES, Payload, check_native, head
from fedsparse.wire.reader import Reader
from fedsparse.wire.values import native_kind, pack_values, take_values

__all__ = ["Sign"]


@dataclass(frozen=True, eq=False)
class Sign(Payload, code=6):
    """One bit for each coordinate: plus or minus the scale of its block.

    Attributes:
        positive: ``[C, d]`` bool, d at least 1.
        scale: ``[C, blocks]``, float32 or float64: the dtype of the dense vector. Blocks are ``ceil(d /
            blocks)`` long, but for the last, which may be shorter.
    """

    positive: Tensor
    scale: Tensor

    def __post_init__(self) -> None:
        native_kind(self.scale.dtype)
        if self.positive.dtype != torch.bool or not _fit(self.size, self.scale.shape[1]):
            raise ProtocolError(
                f"Sign has {self.scale.shape[1]} blocks for {self.size} coordinates of "
                f"{self.positive.dtype}; needed are torch.bool and blocks of equal length, none of them empty"
            )

    @property
    def rows(self) -> int:
        """C, how many clients' values are in this batch."""
        return self.positive.shape[0]

    @property
    def size(self) -> int:
        """d, the length of the dense vector."""
        return self.positive.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the dense vector."""
        return self.scale.dtype

    def dense(self) -> Tensor:
        """The full vectors, ``[C, d]``."""
        block = -(-self.size // self.scale.shape[1])
        spread = self.scale.repeat_interleave(block, dim=1)[:, : self.size]
        return torch.where(self.positive, spread, -spread)

    def nbytes(self) -> Tensor:
        """The exact length of each encoded row, ``[C]`` int64; all are equal."""
        blocks = self.scale.shape[1]
        numbers = len(bits.varint(self.size)) + len(bits.varint(blocks))
        length = HEAD_BYTES + numbers + blocks * self.dtype.itemsize + bits.packed_nbytes(self.size, 1)
        return torch.full((self.rows,), length, dtype=torch.int64)

    def encode(self, row: int) -> bytes:
        """Head, size, number of blocks, scales, signs."""
        return b"".join(
            (
                head(self.code, self.dtype),
                bits.varint(self.size),
                bits.varint(self.scale.shape[1]),
                pack_values(self.scale[row], native_kind(self.dtype), None),
                np.packbits(self.positive[row].numpy(), bitorder="little").tobytes(),
            )
        )

    @classmethod
    def decode(cls, reader: Reader, dtype: torch.dtype, kind: str) -> Self:
        """Read one row after its head; see :meth:`Payload.decode`."""
        check_native(dtype, kind)
        size = reader.size()
        blocks = reader.varint("blocks", size)
        if not _fit(size, blocks):
            raise DecodeError(
                f"blocks: {size} coordinates cannot be cut into {blocks} blocks of equal length"
            )
        scale, _ = take_values(reader, blocks, kind, dtype)
        positive = reader.flags(size, "signs")
        reader.end()
        return cls(torch.from_numpy(positive)[None], scale)


def _fit(size: int, blocks: int) -> bool:
    return 1 <= blocks <= size and (blocks - 1) * -(-size // blocks) < size
