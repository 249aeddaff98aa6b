"""Whole numbers times a scale: QSGD, dithering, low-bit rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.wire import bits, support
from fedsparse.wire.payload import HEAD_BYTES, Payload, check_native, head
from fedsparse.wire.reader import Reader, settled
from fedsparse.wire.sparse import starts_of
from fedsparse.wire.values import native_kind, pack_values, take_values

__all__ = ["LARGEST_LEVELS", "Quantized"]

LARGEST_LEVELS = 2**31 - 1
"""Codes are 32-bit integers."""

_ALL = 255
"""Takes the place of an index coding: every coordinate has its code, zeros too."""

_NARROW_FIRST = (torch.int8, torch.int16, torch.int32)
"""Types of codes."""


@dataclass(frozen=True, eq=False)
class Quantized(Payload, code=4):
    """Every coordinate as a whole number of steps: ``codes * scale``.

    It travels as all codes in fixed width, or as the nonzero ones with their indices, whichever is shorter.

    Attributes:
        codes: ``[C, d]``, within ``+-levels``; int32, or the narrowest type that has them, in which they are kept.
        scale: ``[C]``, the step, float32 or float64: the dtype of the dense vector.
        levels: the largest code, 1 to :data:`LARGEST_LEVELS`.
    """

    decodes = True

    codes: Tensor
    scale: Tensor
    levels: int

    def __post_init__(self) -> None:
        known = 1 <= self.levels <= LARGEST_LEVELS
        if not known or self.codes.dtype not in {torch.int32, self.narrowest(self.levels)}:
            raise ProtocolError(
                f"Quantized has codes of {self.codes.dtype} and {self.levels} levels; codes must be "
                f"torch.int32 or the narrowest type that has them, levels 1 to {LARGEST_LEVELS}"
            )
        native_kind(self.scale.dtype)
        low, high = map(int, self.codes.aminmax()) if self.codes.numel() else (0, 0)
        if max(-low, high) > self.levels:
            raise ProtocolError(
                f"Quantized has codes from {low} to {high}; allowed are +-{self.levels} levels"
            )
        object.__setattr__(self, "codes", self.codes.to(self.narrowest(self.levels)))

    @staticmethod
    def narrowest(levels: int) -> torch.dtype:
        """The narrowest type of codes within ``+-levels``: int8, int16 or int32."""
        return next(kind for kind in _NARROW_FIRST if levels <= torch.iinfo(kind).max)

    @property
    def rows(self) -> int:
        """C, how many clients' values are in this batch."""
        return self.codes.shape[0]

    @property
    def size(self) -> int:
        """d, the length of the dense vector."""
        return self.codes.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the dense vector."""
        return self.scale.dtype

    def dense(self) -> Tensor:
        """The full vectors, ``[C, d]``."""
        return self.codes.to(self.dtype).mul_(self.scale[:, None])

    def accumulate(self, out: Tensor, coefficients: Tensor) -> None:
        """Add ``coefficients[i]`` times row i to ``out``; see :meth:`Payload.accumulate`."""
        for codes, scale, factor in zip(self.codes, self.scale, coefficients.to(out.dtype), strict=True):
            out += codes.to(self.dtype).mul_(scale).to(out.dtype).mul_(factor)

    def finite(self) -> Tensor:
        """Which rows have neither NaN nor infinity, ``[C]`` bool."""
        good = (self.scale * self.levels).isfinite()
        for row in (~good).nonzero().flatten().tolist():
            good[row] = self.select(slice(row, row + 1)).dense().isfinite().all()
        return good

    def _counts(self) -> NDArray[np.int64]:
        """How many codes of each row are not zero, ``[C]``."""
        return np.array([np.count_nonzero(row) for row in self.codes.numpy()], dtype=np.int64)

    @property
    def _fixed_width(self) -> int:
        return (2 * self.levels).bit_length()

    @property
    def _nonzero_width(self) -> int:
        return (2 * self.levels - 1).bit_length()

    def _sparse_nbytes(self) -> Tensor:
        """Bytes of the nonzero codes with their indices, ``[C]``; too few only where those lose."""
        counts = torch.from_numpy(self._counts())
        packed = (counts * self._nonzero_width + 7) // 8
        lengths = bits.varint_nbytes(counts) + packed
        maybe = (packed < bits.packed_nbytes(self.size, self._fixed_width)).nonzero()[:, 0]
        offsets = starts_of(counts[maybe]).numpy()
        codes = self.codes if len(maybe) == self.rows else self.codes[maybe]
        columns = bits.nonzero(codes.numpy().reshape(-1)) % max(self.size, 1)
        lengths[maybe] += torch.from_numpy(support.choose(columns, offsets, self.size)[1])
        return lengths

    def _lengths(self) -> tuple[Tensor, int]:
        return self._sparse_nbytes(), bits.packed_nbytes(self.size, self._fixed_width)

    def nbytes(self) -> Tensor:
        """The exact length of each encoded row, ``[C]`` int64."""
        sparse, fixed = self._lengths()
        numbers = len(bits.varint(self.size)) + len(bits.varint(self.levels)) + 1
        return HEAD_BYTES + numbers + self.dtype.itemsize + sparse.clamp(max=fixed)

    def encode(self, row: int) -> bytes:
        """Head, size, levels, coding, scale; then the codes, or count, nonzero codes, and indices."""
        one = self.select(slice(row, row + 1))
        sparse, fixed = one._lengths()
        codes = one.codes[0].numpy().astype(np.int64)
        if int(sparse[0]) < fixed:
            coding, tail = one._encode_nonzero(codes)
        else:
            coding, tail = _ALL, bits.pack(codes + self.levels, self._fixed_width)
        start = head(self.code, self.dtype) + bits.varint(self.size) + bits.varint(self.levels)
        return start + bytes((coding,)) + pack_values(one.scale, native_kind(self.dtype), None) + tail

    def _encode_nonzero(self, codes: NDArray[np.int64]) -> tuple[int, bytes]:
        indices = np.flatnonzero(codes)
        chosen = codes[indices]
        ends = np.array((0, len(indices)))
        codings, _ = support.choose(indices, ends, self.size)
        (where,) = support.encode(indices, ends, codings, self.size)
        packed = bits.pack(chosen + self.levels - (chosen > 0), self._nonzero_width)
        return int(codings[0]), bits.varint(len(indices)) + packed + where

    @classmethod
    def decode(cls, reader: Reader, dtype: torch.dtype, kind: str) -> Self:
        """Read one row after its head; see :meth:`Payload.decode`."""
        check_native(dtype, kind)
        size = reader.size()
        levels = reader.varint("levels", LARGEST_LEVELS)
        if levels == 0:
            raise DecodeError("levels: 0; at least 1 is needed")
        coding = reader.byte("index coding")
        scale = take_values(reader, 1, kind, dtype)[0][0]
        empty = cls(torch.empty(1, 0, dtype=torch.int32), scale, levels)
        codes = empty._take_all(reader, size) if coding == _ALL else empty._take_nonzero(reader, coding, size)
        payload = cls(torch.from_numpy(codes)[None], scale, levels)
        sparse, fixed = payload._lengths()
        if (int(sparse[0]) < fixed) == (coding == _ALL):
            raise DecodeError("index coding: not the shortest one, which every sender uses")
        return payload

    def _take_all(self, reader: Reader, size: int) -> NDArray[np.int32]:
        numbers = reader.packed(size, self._fixed_width, "codes")
        reader.end()
        if size and numbers.max() > 2 * self.levels:
            raise DecodeError(f"codes: {numbers.max() - self.levels} is above the {self.levels} levels")
        return (numbers - self.levels).astype(np.int32)

    def _take_nonzero(self, reader: Reader, coding: int, size: int) -> NDArray[np.int32]:
        count = reader.varint("count", size)
        numbers = reader.packed(count, self._nonzero_width, "codes")
        if count and numbers.max() >= 2 * self.levels:
            raise DecodeError(f"codes: {numbers.max() - self.levels + 1} is above the {self.levels} levels")
        indices = settled(support.decode([reader], coding, count, size)[0])
        codes = np.zeros(size, dtype=np.int32)
        codes[indices] = numbers - self.levels + (numbers >= self.levels)
        return codes
