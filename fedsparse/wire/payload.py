"""What all payloads have in common: a batch of rows, one per client, each of which is encoded on its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.wire.reader import Limits, Reader, attempt, settled
from fedsparse.wire.values import KINDS, native_kind

__all__ = [
    "CLASSES",
    "HEAD_BYTES",
    "VERSION",
    "Payload",
    "check_native",
    "concatenate",
    "decode_payload",
    "decode_row",
    "decode_rows",
    "head",
    "row_norms",
    "times",
]

VERSION = 1
"""Version of the payload format, the high half of the first byte."""

HEAD_BYTES = 2
"""Bytes before each payload's own header: version and class, value kind and dtype."""

CLASSES: dict[int, type[Payload]] = {}
"""Every class of payloads, by its number on the wire."""

P = TypeVar("P", bound="Payload")

_WIDE = 8
_KIND_NAMES = tuple(KINDS)
_FP64_IN_FLOAT32 = _KIND_NAMES.index("fp64")


@dataclass(frozen=True, eq=False)
class Payload(ABC):
    """A typed value on the wire, for C clients at once: tensors with a leading axis C, never written to.

    A dense row has ``size`` coordinates. Rows are encoded one by one; lengths are known without encoding.
    """

    code: ClassVar[int]
    """The number of the class on the wire, 0 to 15; given as ``class Mine(Payload, code=12)``."""

    decodes: ClassVar[bool] = False
    """Whether :meth:`dense` makes a new tensor each time, which may be written to."""

    def __init_subclass__(cls, code: int | None = None) -> None:
        super().__init_subclass__()
        if code is None:
            return
        if not 0 <= code < 16 or code in CLASSES:
            raise ProtocolError(
                f"{cls.__name__} wants the number {code} on the wire; free are {_free_codes()}"
            )
        cls.code = code
        CLASSES[code] = cls

    @property
    @abstractmethod
    def rows(self) -> int:
        """C, how many clients' values are in this batch."""

    if TYPE_CHECKING:
        # Not at run time: a class that has it as a field would take the property for the field's default.
        @property
        def size(self) -> int:
            """d, the length of the dense vector that a row stands for."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The dtype of the dense vector, float32 or float64."""

    @abstractmethod
    def dense(self) -> Tensor:
        """What a receiver decodes, ``[C, d]``."""

    def added_to(self, x: Tensor, factor: float = 1.0) -> Tensor:
        """``x [C, d]`` plus ``factor``, at least 0, times :meth:`dense`, to the bit.

        Of a sparse payload at the cost of copying ``x``.
        """
        if self.decodes and self._fits(x):
            dense = self.dense()
            return torch.add(x, dense if factor == 1 else dense.mul_(factor), out=dense)
        return x + times(factor, self.dense())

    def left_of(self, x: Tensor) -> Tensor:
        """``x [C, d]`` less :meth:`dense`, to the bit. May take the memory of ``x``, which is then lost."""
        if self.decodes and self._fits(x):
            dense = self.dense()
            return torch.sub(x, dense, out=dense)
        return x - self.dense()

    def _fits(self, x: Tensor) -> bool:
        """Whether ``x`` has the shape and dtype of :meth:`dense`."""
        return x.dtype == self.dtype and x.shape == (self.rows, self.size)

    @abstractmethod
    def nbytes(self) -> Tensor:
        """The exact length of each encoded row, ``[C]`` int64, computed without encoding."""

    @abstractmethod
    def encode(self, row: int) -> bytes:
        """The bytes of one row, ``nbytes()[row]`` of them."""

    def encode_rows(self) -> list[bytes]:
        """:meth:`encode` for every row."""
        return [self.encode(row) for row in range(self.rows)]

    @classmethod
    @abstractmethod
    def decode(cls, reader: Reader, dtype: torch.dtype, kind: str) -> Self:
        """Read one row after its head, up to the end of the bytes.

        Raises:
            DecodeError: when the bytes are not what :meth:`encode` writes.
        """

    @classmethod
    def decode_rows(
        cls, readers: Sequence[Reader], dtype: torch.dtype, kind: str
    ) -> list[Self | DecodeError]:
        """:meth:`decode` for each reader; in place of a row that cannot be read stands what it would raise."""
        return [attempt(cls.decode, reader, dtype, kind) for reader in readers]

    def select(self, rows: Tensor | slice) -> Self:
        """Some of the rows, by index (``[n]`` int64), mask (``[C]`` bool) or slice."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v[rows] for k, v in values.items() if isinstance(v, Tensor)})

    def accumulate(self, out: Tensor, coefficients: Tensor) -> None:
        """Add ``coefficients[i]`` times row i to ``out``, in place, rows ascending, in the dtype of ``out``.

        Product and sum are rounded one after the other, so that no grouping of the rows changes a bit.

        Args:
            out: ``[d]``, contiguous.
            coefficients: ``[C]``.
        """
        for row, coefficient in enumerate(coefficients.to(out.dtype)):
            dense = self.select(slice(row, row + 1)).dense()[0].to(out.dtype)
            out += dense.mul_(coefficient) if self.decodes else dense * coefficient

    def finite(self) -> Tensor:
        """Which dense rows have neither NaN nor infinity, ``[C]`` bool."""
        return self.dense().isfinite().all(dim=1)

    def norm(self) -> Tensor:
        """Euclidean norms of the dense rows, ``[C]`` float64."""
        return row_norms(self.dense())

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts, in order; see the function :func:`concatenate`."""
        return replace(parts[0], **cls._joined(parts))

    @classmethod
    def _joined(cls, parts: Sequence[Self]) -> dict[str, Tensor]:
        """The fields that are tensors, of all parts; the other fields must agree."""
        joined: dict[str, Tensor] = {}
        for field in fields(cls):
            values = [getattr(part, field.name) for part in parts]
            if isinstance(values[0], Tensor):
                joined[field.name] = _join(f"{cls.__name__}.{field.name}", values)
            elif any(value != values[0] for value in values):
                raise ProtocolError(f"cannot put {cls.__name__} payloads together: {field.name} is {values}")
        return joined


def _join(name: str, tensors: Sequence[Tensor]) -> Tensor:
    kinds = {(tuple(t.shape[1:]), t.dtype) for t in tensors}
    if len(kinds) > 1:
        raise ProtocolError(f"cannot put payloads together: rows of {name} differ: {sorted(map(str, kinds))}")
    return torch.cat(list(tensors))


def concatenate(parts: Sequence[P]) -> P:
    """Put batches of one class together.

    Args:
        parts: at least one payload; all of the same class, size, kind and dtype.

    Returns:
        A payload of that class with the rows of all parts, in order.

    Raises:
        ProtocolError: when they do not fit together; the text names what differs.
    """
    if not parts:
        raise ProtocolError("no payloads to put together; at least one is needed, for its class and size")
    names = sorted({type(part).__name__ for part in parts})
    if len(names) > 1:
        raise ProtocolError(f"cannot put payloads of several classes together: {', '.join(names)}")
    return parts[0] if len(parts) == 1 else type(parts[0]).concatenate(parts)


def times(factor: float, values: Tensor) -> Tensor:
    """``factor`` times ``values``; the values themselves where that is the same."""
    return values if factor == 1 else factor * values


def row_norms(rows: Tensor) -> Tensor:
    """Euclidean norms of the rows of ``[C, d]``, ``[C]`` float64."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return norms


def check_native(dtype: torch.dtype, kind: str) -> None:
    """Raise DecodeError for a kind that is not the dtype's own, where a class has no choice."""
    if kind != native_kind(dtype):
        raise DecodeError(f"kind: {kind} for {dtype}; this class of payloads has {native_kind(dtype)}")


def _free_codes() -> list[int]:
    return [code for code in range(16) if code not in CLASSES]


def head(code: int, dtype: torch.dtype, kind: str = "") -> bytes:
    """The first two bytes of a payload; without a kind, the one that carries the dtype."""
    kind = kind or native_kind(dtype)
    wide = _WIDE if dtype == torch.float64 else 0
    return bytes((VERSION << 4 | code, _KIND_NAMES.index(kind) | wide))


def decode_payload(data: bytes | bytearray | memoryview, limits: Limits) -> Payload:
    """Read one row of any class.

    Args:
        data: bytes that anybody may have sent.
        limits: what to accept.

    Returns:
        A payload of one row. Its values may be NaN or infinite: see :meth:`Payload.finite`.

    Raises:
        DecodeError: when the bytes are not what some sender's :meth:`Payload.encode` gives; nothing else.
    """
    return decode_row(Reader(data, limits))


def decode_row(reader: Reader) -> Payload:
    """Read the row that is the rest of the reader's bytes; see :func:`decode_payload`."""
    return settled(decode_rows([reader])[0])


def decode_rows(readers: Sequence[Reader]) -> list[Payload | DecodeError]:
    """:func:`decode_row` for each reader, rows of a kind together.

    Returns:
        A payload of one row for each; in place of one that cannot be read what :func:`decode_row` would raise.
    """
    found: dict[int, Payload | DecodeError] = {}
    alike: dict[tuple[type[Payload], torch.dtype, str], list[int]] = defaultdict(list)
    for at, reader in enumerate(readers):
        taken = attempt(_take_head, reader)
        if isinstance(taken, DecodeError):
            found[at] = taken
        else:
            alike[taken].append(at)
    for (cls, dtype, kind), places in alike.items():
        found.update(zip(places, cls.decode_rows([readers[at] for at in places], dtype, kind), strict=True))
    return [found[at] for at in range(len(readers))]


def _take_head(reader: Reader) -> tuple[type[Payload], torch.dtype, str]:
    """Class, dtype and kind of the row that follows."""
    reader.count_row()
    first = reader.byte("class")
    if first >> 4 != VERSION:
        raise DecodeError(f"version: {first >> 4}; this receiver understands {VERSION}")
    cls = CLASSES.get(first & 15)
    if cls is None:
        raise DecodeError(f"class: {first & 15} is not in use")
    second = reader.byte("kind")
    if second >= 2 * _WIDE or second % _WIDE >= len(_KIND_NAMES) or second == _FP64_IN_FLOAT32:
        raise DecodeError(f"kind: {second:#x} is none of {', '.join(_KIND_NAMES)} in float32 or float64")
    return cls, torch.float64 if second & _WIDE else torch.float32, _KIND_NAMES[second % _WIDE]
