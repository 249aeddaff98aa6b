"""Which coordinates, and nothing else: masks, and the positions where one changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.lazy import cached_property
from fedsparse.wire import bits, support
from fedsparse.wire.payload import HEAD_BYTES, Payload, head
from fedsparse.wire.reader import Reader, settled

__all__ = ["Mask"]


@dataclass(frozen=True, eq=False)
class Mask(Payload, code=10):
    """Marked coordinates, as ones among zeros; coded like the indices of a sparse payload, by whichever is shortest.

    Attributes:
        marks: ``[C, d]`` bool.
    """

    marks: Tensor

    def __post_init__(self) -> None:
        if self.marks.dtype != torch.bool or self.marks.dim() != 2:
            raise ProtocolError(
                f"Mask.marks are {tuple(self.marks.shape)} {self.marks.dtype}; they must be [C, d] torch.bool"
            )

    @property
    def rows(self) -> int:
        """C, how many clients' masks are in this batch."""
        return self.marks.shape[0]

    @property
    def size(self) -> int:
        """d, the length of the dense vector."""
        return self.marks.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the dense vector: float32."""
        return torch.float32

    def dense(self) -> Tensor:
        """Ones and zeros, ``[C, d]``."""
        return self.marks.to(self.dtype)

    @cached_property
    def counts(self) -> Tensor:
        """How many coordinates each row marks, ``[C]`` int64."""
        return self.marks.sum(1)

    @cached_property
    def _support(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Marked coordinates, row after row, and where each row starts."""
        offsets = np.concatenate(([0], np.cumsum(self.counts.numpy())))
        return np.nonzero(self.marks.numpy())[1].astype(np.int64, copy=False), offsets

    @cached_property
    def _coded(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Index coding of each row, and its bytes, both ``[C]``."""
        return support.choose(*self._support, self.size)

    def nbytes(self) -> Tensor:
        """The exact length of each encoded row, ``[C]`` int64."""
        fixed = HEAD_BYTES + len(bits.varint(self.size)) + 1
        return fixed + bits.varint_nbytes(self.counts) + torch.from_numpy(self._coded[1])

    def encode(self, row: int) -> bytes:
        """Head, size, number of coordinates, index coding, indices."""
        indices, offsets = self._support
        coding = self._coded[0][row : row + 1]
        (coded,) = support.encode(indices, offsets[row : row + 2], coding, self.size)
        count = bits.varint(int(self.counts[row]))
        return b"".join(
            (head(self.code, self.dtype), bits.varint(self.size), count, bytes((int(coding[0]),)), coded)
        )

    @classmethod
    def decode(cls, reader: Reader, dtype: torch.dtype, kind: str) -> Self:
        """Read one row after its head; see :meth:`Payload.decode`."""
        if dtype != torch.float32 or kind != "fp32":
            raise DecodeError(f"kind: {kind} for {dtype}; masks are fp32 for torch.float32")
        size = reader.size()
        count, coding = reader.varint("count", size), reader.byte("index coding")
        indices = settled(support.decode([reader], coding, count, size)[0])
        marks = torch.zeros(1, size, dtype=torch.bool)
        marks[0, torch.from_numpy(indices)] = True
        return cls(marks)
