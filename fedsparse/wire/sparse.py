"""A few coordinates with their indices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.lazy import cached_property
from fedsparse.wire import bits, support
from fedsparse.wire.payload import HEAD_BYTES, Payload, head, times
from fedsparse.wire.reader import Reader, settled
from fedsparse.wire.values import KINDS, pack_rows, resolve_kind, take_values, values_nbytes

__all__ = ["Sparse", "add_at", "added_at", "left_at", "pick_rows", "starts_of"]


@dataclass(frozen=True, eq=False)
class Sparse(Payload, code=2):
    """Chosen coordinates: rows of any length in one list (CSR); all others are zero.

    Attributes:
        indices: ``[nnz]`` int64, strictly ascending within each row.
        values: ``[nnz]``, rounded to the kind that travels (see :func:`~fedsparse.wire.values.round_to`).
        offsets: ``[C + 1]`` int64, where each row starts.
        size: d.
        kind: how a value travels; empty means the dtype's own, without rounding.
        scale: ``[C]`` for int8, else None.
    """

    indices: Tensor
    values: Tensor
    offsets: Tensor
    size: int
    kind: str = ""
    scale: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", resolve_kind(self.kind, self.values, self.scale))
        if not self.indices.numel() == self.values.numel() == int(self.offsets[-1]):
            raise ProtocolError(
                f"Sparse has {self.indices.numel()} indices, {self.values.numel()} values, and offsets that "
                f"end at {int(self.offsets[-1])}; the three must agree"
            )

    @classmethod
    def of(
        cls, indices: Tensor, values: Tensor, size: int, kind: str = "", scale: Tensor | None = None
    ) -> Sparse:
        """Rows of equal length: ``indices`` and ``values`` are ``[C, k]``, indices ascending in each row."""
        rows, k = indices.shape
        offsets = torch.arange(rows + 1, dtype=torch.int64) * k
        return cls(indices.reshape(-1), values.reshape(-1), offsets, size, kind, scale)

    @property
    def rows(self) -> int:
        """C, how many clients' values are in this batch."""
        return self.offsets.shape[0] - 1

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the dense vector."""
        return self.values.dtype

    @cached_property
    def counts(self) -> Tensor:
        """How many coordinates each row has, ``[C]`` int64."""
        return self.offsets.diff()

    @cached_property
    def _places(self) -> Tensor:
        """Where the values go in the flat dense vectors, ``[nnz]`` int64."""
        starts = np.repeat(np.arange(self.rows) * self.size, self.counts.numpy())
        return self.indices + torch.from_numpy(starts)

    def dense(self) -> Tensor:
        """The full vectors, ``[C, d]``."""
        out = self.values.new_zeros(self.rows, self.size)
        out.view(-1).index_copy_(0, self._places, self.values)
        return out

    def added_to(self, x: Tensor, factor: float = 1.0) -> Tensor:
        """``x [C, d]`` plus ``factor`` times the full vectors; see :meth:`Payload.added_to`."""
        if not self._fits(x):
            return super().added_to(x, factor)
        return added_at(x, self._places, times(factor, self.values))

    def left_of(self, x: Tensor) -> Tensor:
        """``x [C, d]`` less the full vectors; see :meth:`Payload.left_of`."""
        return left_at(x, self._places, self.values) if self._fits(x) else super().left_of(x)

    def select(self, rows: Tensor | slice) -> Sparse:
        """Some of the rows, by index (``[n]`` int64), mask (``[C]`` bool) or slice."""
        chosen = torch.arange(self.rows)[rows]
        offsets, at = pick_rows(self.offsets, chosen)
        scale = None if self.scale is None else self.scale[chosen]
        return Sparse(self.indices[at], self.values[at], offsets, self.size, self.kind, scale)

    def accumulate(self, out: Tensor, coefficients: Tensor) -> None:
        """Add ``coefficients[i]`` times row i to ``out`` ``[d]``; see :meth:`Payload.accumulate`."""
        spread = coefficients.to(out.dtype).repeat_interleave(self.counts)
        add_at(out, self.indices, self.values.to(out.dtype) * spread)

    def finite(self) -> Tensor:
        """Which rows have neither NaN nor infinity, ``[C]`` bool."""
        good = self.values.isfinite()
        if bool(good.all()):
            return torch.ones(self.rows, dtype=torch.bool)
        bad = starts_of(~good)
        return bad[self.offsets[1:]] == bad[self.offsets[:-1]]

    def norm(self) -> Tensor:
        """Euclidean norms of the rows, ``[C]`` float64."""
        return _norms(self.values, self.counts)

    @cached_property
    def _coded(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Index coding of each row, and its bytes, both ``[C]``."""
        return support.choose(self.indices.numpy(), self.offsets.numpy(), self.size)

    def nbytes(self) -> Tensor:
        """The exact length of each encoded row, ``[C]`` int64."""
        numbers = bits.varint_nbytes(self.counts) + self.counts * KINDS[self.kind][0]
        fixed = HEAD_BYTES + len(bits.varint(self.size)) + 1 + values_nbytes(self.kind, self.dtype, 0)
        return fixed + numbers + torch.from_numpy(self._coded[1])

    def encode(self, row: int) -> bytes:
        """Head, size, number of coordinates, index coding, values, indices."""
        return self._encode(row, 1)[0]

    def encode_rows(self) -> list[bytes]:
        """The bytes of every row; see :meth:`Payload.encode_rows`."""
        return self._encode(0, self.rows)

    def _encode(self, first: int, count: int) -> list[bytes]:
        offsets = self.offsets[first : first + count + 1].numpy()
        codings = self._coded[0][first : first + count]
        scale = None if self.scale is None else self.scale[first : first + count]
        start = head(self.code, self.dtype, self.kind) + bits.varint(self.size)
        return [
            b"".join((start, bits.varint(length), bytes((coding,)), values, indices))
            for length, coding, values, indices in zip(
                np.diff(offsets).tolist(),
                codings.tolist(),
                pack_rows(self.values, self.kind, scale, offsets.tolist()),
                support.encode(self.indices.numpy(), offsets, codings, self.size),
                strict=True,
            )
        ]

    @classmethod
    def decode(cls, reader: Reader, dtype: torch.dtype, kind: str) -> Sparse:
        """Read one row after its head; see :meth:`Payload.decode`."""
        return settled(cls.decode_rows([reader], dtype, kind)[0])

    @classmethod
    def decode_rows(
        cls, readers: Sequence[Reader], dtype: torch.dtype, kind: str
    ) -> list[Sparse | DecodeError]:
        """Read rows after their heads, those of a shape together; see :meth:`Payload.decode_rows`."""
        found: dict[int, Sparse | DecodeError] = {}
        alike: dict[tuple[int, int, int], list[int]] = defaultdict(list)
        values: dict[int, tuple[Tensor, Tensor | None]] = {}
        for at, reader in enumerate(readers):
            try:
                size = reader.size()
                key = size, reader.varint("count", size), reader.byte("index coding")
                values[at] = take_values(reader, key[1], kind, dtype)
            except DecodeError as error:
                found[at] = error
            else:
                alike[key].append(at)
        for (size, count, coding), places in alike.items():
            supports = support.decode([readers[at] for at in places], coding, count, size)
            for at, indices in zip(places, supports, strict=True):
                if isinstance(indices, DecodeError):
                    found[at] = indices
                else:
                    entries, scale = values[at]
                    found[at] = cls.of(torch.from_numpy(indices)[None], entries, size, kind, scale)
        return [found[at] for at in range(len(readers))]

    @classmethod
    def concatenate(cls, parts: Sequence[Sparse]) -> Sparse:
        """The rows of all parts, in order."""
        joined, first = cls._joined(parts), parts[0]
        offsets = starts_of(torch.cat([part.counts for part in parts]))
        return Sparse(
            joined["indices"], joined["values"], offsets, first.size, first.kind, joined.get("scale")
        )


def starts_of(counts: Tensor) -> Tensor:
    """Where rows of these lengths start when one lies after another, and where the last ends, ``[C + 1]``."""
    return torch.cat((counts.new_zeros(1, dtype=torch.int64), counts.cumsum(0)))


def pick_rows(offsets: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The offsets of some rows put one after another, and the old position of each of their items."""
    counts = offsets.diff()[chosen]
    picked = starts_of(counts)
    shift = (offsets[:-1][chosen] - picked[:-1]).repeat_interleave(counts)
    return picked, torch.arange(int(picked[-1])) + shift


def added_at(x: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """A new tensor: ``x``, and in its flat form ``values`` added at distinct ``places``, both ``[n]``."""
    out = (x + 0.0).contiguous()  # As with a dense vector, -0.0 becomes 0.0 where nothing is added.
    out.view(-1).index_copy_(0, places, x.reshape(-1).index_select(0, places) + values)
    return out


def left_at(x: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """``x``, and in its flat form ``values`` taken off at distinct ``places``; in place, unless memory is shared."""
    shared = x.untyped_storage().data_ptr() == values.untyped_storage().data_ptr()
    out = x.clone(memory_format=torch.contiguous_format) if shared or not x.is_contiguous() else x
    flat = out.view(-1)
    flat.index_copy_(0, places, flat.index_select(0, places) - values)
    return out


def add_at(out: Tensor, indices: Tensor, values: Tensor) -> None:
    """``out[indices[j]] += values[j]`` for ascending j, one after the other, also where indices repeat."""
    with np.errstate(invalid="ignore", over="ignore"):
        np.add.at(out.numpy(), indices.numpy(), values.numpy())


def _norms(values: Tensor, counts: Tensor) -> Tensor:
    """Euclidean norms, ``[C]`` float64, of rows of ``counts[i]`` values that lie one after another."""
    rows = np.repeat(np.arange(len(counts)), counts.numpy())
    squares = np.bincount(rows, weights=values.double().square().numpy(), minlength=len(counts))
    return torch.from_numpy(np.sqrt(squares))
