"""Payloads that are passed on as they came: nobody on the way decodes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Self

import numpy as np
import torch
from torch import Tensor

from fedsparse.errors import ProtocolError
from fedsparse.wire.envelope import Envelope, take_parts
from fedsparse.wire.payload import Payload
from fedsparse.wire.reader import Limits, Reader

__all__ = ["Sealed", "pass_on"]


@dataclass(frozen=True, eq=False)
class Sealed(Payload):
    """The encoded rows of C senders; what they stand for is not known here.

    Attributes:
        data: of each row, as :meth:`Payload.encode` of the sender gave them.
    """

    data: tuple[bytes, ...]

    @property
    def rows(self) -> int:
        """C."""
        return len(self.data)

    @property
    def size(self) -> int:
        """Unknown, which is 0."""
        return 0

    @property
    def dtype(self) -> torch.dtype:
        """That of bytes."""
        return torch.uint8

    def stands_for(self, kind: type[Payload]) -> bool:
        """Whether all rows say in their first byte that they are of that class."""
        return all(row[:1] and row[0] & 15 == kind.code for row in self.data)

    def dense(self) -> Tensor:
        """Nobody can know."""
        raise ProtocolError("a sealed payload is passed on, not decoded")

    def finite(self) -> Tensor:
        """That a number is wrong is not seen from outside, ``[C]`` bool."""
        return torch.ones(self.rows, dtype=torch.bool)

    def nbytes(self) -> Tensor:
        """The lengths, ``[C]`` int64."""
        return torch.tensor([len(row) for row in self.data], dtype=torch.int64)

    def encode(self, row: int) -> bytes:
        """The bytes as they came."""
        return self.data[row]

    @classmethod
    def decode(cls, reader: Reader, dtype: torch.dtype, kind: str) -> Self:
        """There is no such class on the wire."""
        del reader, dtype, kind
        raise ProtocolError("a sealed payload is not a class of the wire format")

    def select(self, rows: Tensor | slice) -> Self:
        """Some of the rows."""
        at = np.arange(self.rows)[rows if isinstance(rows, slice) else rows.numpy()]
        return type(self)(tuple(self.data[k] for k in at.tolist()))

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts, in order."""
        return cls(tuple(chain.from_iterable(part.data for part in parts)))


def pass_on(data: bytes | bytearray | memoryview, limits: Limits) -> tuple[Envelope, dict[str, Payload]]:
    """As :func:`~fedsparse.wire.decode_message`, but for the payloads, which stay closed.

    Raises:
        DecodeError: the envelope, or what separates the payloads, is damaged.
    """
    envelope, parts = take_parts(data, limits)
    return envelope, {name: Sealed((bytes(part.rest()),)) for name, part in parts.items()}
