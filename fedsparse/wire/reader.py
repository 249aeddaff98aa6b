"""Reading bytes that an enemy may have sent: every length is checked before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedsparse.errors import DecodeError
from fedsparse.wire import bits

__all__ = ["Limits", "Reader", "attempt", "settled"]

T = TypeVar("T")
Params = ParamSpec("Params")


@dataclass(frozen=True)
class Limits:
    """What a receiver is willing to take in.

    Attributes:
        max_size: the longest dense vector that a payload may stand for, in coordinates.
        max_bytes: the longest message, in bytes.
        max_rows: how many payloads a message may hold, each neighbour's counted.
    """

    max_size: int
    max_bytes: int
    max_rows: int = 1024


class Reader:
    """A position in bytes that moves forward; each step names the field that it reads.

    Args:
        data: the bytes, which are not copied.
        limits: what is allowed.

    Raises:
        DecodeError: when there are more bytes than allowed; every method raises it too, and nothing else.
    """

    def __init__(self, data: bytes | bytearray | memoryview, limits: Limits) -> None:
        view = memoryview(data).cast("B")
        if len(view) > limits.max_bytes:
            raise DecodeError(f"length: {len(view)} bytes; at most {limits.max_bytes} are allowed")
        self._view = view
        self._at = 0
        self.limits = limits
        self._rows_left = [limits.max_rows]  # one count for a message, shared by the readers of its parts

    @property
    def left(self) -> int:
        """How many bytes have not been read."""
        return len(self._view) - self._at

    def take(self, count: int, field: str) -> memoryview:
        """The next ``count`` bytes."""
        if count > self.left:
            raise DecodeError(
                f"{field}: {count} bytes expected, {self.left} left; the message was cut or is not ours"
            )
        self._at += count
        return self._view[self._at - count : self._at]

    def part(self, field: str) -> Reader:
        """A reader of the next part, which starts with its length; both count rows together."""
        length = self.varint(f"{field} length", self.left)
        inner = Reader(self.take(length, field), self.limits)
        inner._rows_left = self._rows_left
        return inner

    def count_row(self) -> None:
        """Count one payload against the limit."""
        self._rows_left[0] -= 1
        if self._rows_left[0] < 0:
            raise DecodeError(f"payloads: more than the {self.limits.max_rows} that are allowed in a message")

    def byte(self, field: str) -> int:
        """The next byte."""
        return self.take(1, field)[0]

    def varint(self, field: str, most: int) -> int:
        """A variable-length number, 0 to ``most``, in its only (shortest) form."""
        value = shift = 0
        while True:
            byte = self.byte(field)
            value |= (byte & 0x7F) << shift
            if value > most:
                raise DecodeError(f"{field}: {value} or more; at most {most} is allowed")
            if byte < 0x80:
                break
            shift += 7
            if shift > bits.VARINT_BITS:
                raise DecodeError(f"{field}: a number of more than {bits.VARINT_BITS} bits")
        if byte == 0 and shift:
            raise DecodeError(f"{field}: {value} is not written in its shortest form")
        return value

    def size(self, field: str = "size") -> int:
        """The length of a dense vector, within the limits."""
        return self.varint(field, self.limits.max_size)

    def packed(self, count: int, width: int, field: str) -> NDArray[np.int64]:
        """``count`` unsigned numbers of ``width`` bits; see :meth:`filled`."""
        return bits.unpack(self.filled(count * width, field), count, width)

    def flags(self, count: int, field: str) -> NDArray[np.bool_]:
        """``count`` single bits; see :meth:`filled`."""
        data = np.frombuffer(self.filled(count, field), dtype=np.uint8)
        return np.unpackbits(data, count=count, bitorder="little").view(np.bool_)

    def filled(self, count: int, field: str) -> memoryview:
        """The bytes of ``count`` bits; those that fill up the last byte must be zero."""
        data = self.take((count + 7) // 8, field)
        spare = -count % 8
        if spare and data[-1] >> (8 - spare):
            raise DecodeError(f"{field}: the {spare} bits after the last one that counts are not zero")
        return data

    def ahead(self) -> memoryview:
        """All bytes that are left, without moving forward."""
        return self._view[self._at :]

    def rest(self) -> memoryview:
        """All bytes that are left."""
        return self.take(self.left, "rest")

    def end(self) -> None:
        """Check that nothing is left."""
        if self.left:
            raise DecodeError(f"end: {self.left} bytes after the end of the payload")


def attempt(read: Callable[Params, T], *given: Params.args, **named: Params.kwargs) -> T | DecodeError:
    """What ``read`` gives, or the error that it raises."""
    try:
        return read(*given, **named)
    except DecodeError as error:
        return error


def settled(found: T | DecodeError) -> T:
    """What was read; raises the error that was found instead."""
    if isinstance(found, DecodeError):
        raise found
    return found
