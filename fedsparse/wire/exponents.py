"""Signs and powers of two: natural compression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from fedsparse.errors import ProtocolError
from fedsparse.wire import bits
from fedsparse.wire.payload import HEAD_BYTES, Payload, check_native, head
from fedsparse.wire.reader import Reader
from fedsparse.wire.values import native_kind

__all__ = ["Exponents"]

_MANTISSA = 23
_BITS = 9
_EXPONENT = 0xFF


@dataclass(frozen=True, eq=False)
class Exponents(Payload, code=5):
    """Every coordinate as a signed power of two from 2**-126 to 2**127, or zero: nine bits each.

    Attributes:
        codes: ``[C, d]`` int16, the top nine bits of a float32: the sign, then the exponent plus 127; the
            exponent field 0 is zero, 255 is infinity.
        wide: whether the dense vector is float64 instead of float32.
    """

    decodes = True

    codes: Tensor
    wide: bool = False

    def __post_init__(self) -> None:
        if self.codes.dtype != torch.int16:
            raise ProtocolError(f"Exponents.codes are {self.codes.dtype}; they must be torch.int16")

    @classmethod
    def of(cls, values: Tensor) -> Self:
        """From powers of two and zeros ``[C, d]``, float32 or float64.

        What lies between becomes the power of two below (in size), what is out of range zero or infinity; NaN
        becomes infinity, so that it is seen.
        """
        wide = native_kind(values.dtype) == "fp64"
        narrow = torch.where(values.isnan(), torch.inf, values).to(torch.float32)
        return cls((narrow.view(torch.int32) >> _MANTISSA & (1 << _BITS) - 1).to(torch.int16), wide)

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
        return torch.float64 if self.wide else torch.float32

    def dense(self) -> Tensor:
        """The full vectors, ``[C, d]``."""
        return self.codes.to(torch.int32).bitwise_left_shift_(_MANTISSA).view(torch.float32).to(self.dtype)

    def finite(self) -> Tensor:
        """Which rows have no infinity, ``[C]`` bool."""
        tops = [(row & _EXPONENT).max(initial=0) for row in self.codes.numpy()]
        return torch.tensor([top != _EXPONENT for top in tops], dtype=torch.bool)

    def nbytes(self) -> Tensor:
        """The exact length of each encoded row, ``[C]`` int64; all are equal."""
        length = HEAD_BYTES + len(bits.varint(self.size)) + bits.packed_nbytes(self.size, _BITS)
        return torch.full((self.rows,), length, dtype=torch.int64)

    def encode(self, row: int) -> bytes:
        """Head, size, codes."""
        codes = bits.pack(self.codes[row].numpy().astype(np.int64), _BITS)
        return head(self.code, self.dtype) + bits.varint(self.size) + codes

    @classmethod
    def decode(cls, reader: Reader, dtype: torch.dtype, kind: str) -> Self:
        """Read one row after its head; see :meth:`Payload.decode`."""
        check_native(dtype, kind)
        codes = reader.packed(reader.size(), _BITS, "exponents")
        reader.end()
        return cls(torch.from_numpy(codes.astype(np.int16))[None], dtype == torch.float64)
