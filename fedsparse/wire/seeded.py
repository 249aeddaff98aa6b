"""Random-k supports that travel as a seed: both ends derive the same indices."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.lazy import cached_property
from fedsparse.wire import bits
from fedsparse.wire.payload import HEAD_BYTES, Payload, head, row_norms, times
from fedsparse.wire.reader import Reader
from fedsparse.wire.sparse import add_at, added_at, left_at
from fedsparse.wire.values import pack_values, resolve_kind, take_values, values_nbytes

__all__ = ["LARGEST_SIZE", "SeededSparse", "k_subset"]

LARGEST_SIZE = 2**32
"""Indices are drawn from 32 random bits each."""


def k_subset(seed: int, k: int, size: int) -> NDArray[np.int64]:
    """The uniformly random k-subset of ``range(size)`` that belongs to a seed.

    It is the first k distinct numbers of a stream of uniform ones (or, for k > size / 2, what the first size
    - k leave). The stream is Philox's raw output, which NumPy keeps stable across versions; the result is
    part of the wire format.

    Args:
        seed: 64 bits, signed or unsigned.
        k: how many, 0 to ``size``.
        size: how many there are, at most :data:`LARGEST_SIZE`.

    Returns:
        ``[k]`` int64, ascending.

    Raises:
        ProtocolError: when there is no such subset.
    """
    if not 0 <= k <= size <= LARGEST_SIZE:
        raise ProtocolError(f"no {k}-subset of {size} indices; allowed are 0 <= k <= size <= {LARGEST_SIZE}")
    if k <= size - k:
        return _first_distinct(seed, k, size)
    kept = np.ones(size, dtype=bool)
    kept[_first_distinct(seed, size - k, size)] = False
    return np.flatnonzero(kept)


def _first_distinct(seed: int, k: int, size: int) -> NDArray[np.int64]:
    if k == 0:
        return np.empty(0, dtype=np.int64)
    source = np.random.Philox(key=seed % 2**64)
    # How many are drawn at once changes nothing in the result: it is the beginning of one fixed stream.
    expected = -size * np.log1p(-k / size)
    words = int(expected / 2 + 2 * np.sqrt(expected)) + 4
    drawn = _uniform(source, words, size)
    while True:
        # Sorting (value, position) pairs as single words puts the first appearance of each value first.
        pairs = np.sort(drawn << np.uint64(32) | np.arange(drawn.size, dtype=np.uint64))
        values = pairs >> np.uint64(32)
        first = np.concatenate(([True], values[1:] != values[:-1]))
        if np.count_nonzero(first) >= k:
            break
        drawn = np.concatenate((drawn, _uniform(source, words, size)))
    positions = pairs[first] & np.uint64(0xFFFFFFFF)
    kept: NDArray[np.uint64] = values[first][positions <= np.partition(positions, k - 1)[k - 1]]
    return kept.astype(np.int64)


def _uniform(source: np.random.Philox, words: int, size: int) -> NDArray[np.uint64]:
    """Up to two exactly uniform numbers from each word; those of the uneven remainder are rejected."""
    halves = np.asarray(source.random_raw(words)).astype("<u8", copy=False).view("<u4").astype(np.uint64)
    products = halves * np.uint64(size)
    fair = (products & np.uint64(0xFFFFFFFF)) >= np.uint64(2**32 % size)
    return products[fair] >> np.uint64(32)


@dataclass(frozen=True, eq=False)
class SeededSparse(Payload, code=3):
    """Values at random coordinates that both ends derive from a seed; all others are zero.

    Attributes:
        seeds: ``[C]`` int64, 64 bits each.
        values: ``[C, k]`` at the indices ``k_subset(seed, k, size)``, rounded to the kind that travels.
        size: d, at most :data:`LARGEST_SIZE`.
        kind: how a value travels; empty means the dtype's own, without rounding.
        scale: ``[C]`` for int8, else None.
        support: what the seeds stand for, ``[C, k]`` int64, where it was derived before; it is not sent.
    """

    seeds: Tensor
    values: Tensor
    size: int
    kind: str = ""
    scale: Tensor | None = None
    support: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", resolve_kind(self.kind, self.values, self.scale))

    @property
    def rows(self) -> int:
        """C, how many clients' values are in this batch."""
        return self.values.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the dense vector."""
        return self.values.dtype

    @cached_property
    def indices(self) -> Tensor:
        """What the seeds stand for, ``[C, k]`` int64, ascending in each row; derived when first asked for."""
        if self.support is not None:
            return self.support
        k = self.values.shape[1]
        out = np.empty((self.rows, k), dtype=np.int64)
        for row, seed in enumerate(self.seeds.tolist()):
            out[row] = k_subset(seed, k, self.size)
        return torch.from_numpy(out)

    def dense(self) -> Tensor:
        """The full vectors, ``[C, d]``."""
        return self.values.new_zeros(self.rows, self.size).scatter_(1, self.indices, self.values)

    def added_to(self, x: Tensor, factor: float = 1.0) -> Tensor:
        """``x [C, d]`` plus ``factor`` times the full vectors; see :meth:`Payload.added_to`."""
        if not self._fits(x):
            return super().added_to(x, factor)
        return added_at(x, self._places, times(factor, self.values.reshape(-1)))

    def left_of(self, x: Tensor) -> Tensor:
        """``x [C, d]`` less the full vectors; see :meth:`Payload.left_of`."""
        if not self._fits(x):
            return super().left_of(x)
        return left_at(x, self._places, self.values.reshape(-1))

    @property
    def _places(self) -> Tensor:
        """Where the values go in the flat dense vectors, ``[C k]`` int64."""
        return (self.indices + torch.arange(self.rows)[:, None] * self.size).reshape(-1)

    def accumulate(self, out: Tensor, coefficients: Tensor) -> None:
        """Add ``coefficients[i]`` times row i to ``out`` ``[d]``; see :meth:`Payload.accumulate`."""
        scaled = self.values.to(out.dtype) * coefficients.to(out.dtype)[:, None]
        add_at(out, self.indices.reshape(-1), scaled.reshape(-1))

    def finite(self) -> Tensor:
        """Which rows have neither NaN nor infinity, ``[C]`` bool."""
        return self.values.isfinite().all(dim=1)

    def norm(self) -> Tensor:
        """Euclidean norms of the rows, ``[C]`` float64."""
        return row_norms(self.values)

    def nbytes(self) -> Tensor:
        """The exact length of each encoded row, ``[C]`` int64; all are equal."""
        k = self.values.shape[1]
        numbers = len(bits.varint(self.size)) + len(bits.varint(k)) + 8
        length = HEAD_BYTES + numbers + values_nbytes(self.kind, self.dtype, k)
        return torch.full((self.rows,), length, dtype=torch.int64)

    def encode(self, row: int) -> bytes:
        """Head, size, number of coordinates, seed, values."""
        return b"".join(
            (
                head(self.code, self.dtype, self.kind),
                bits.varint(self.size),
                bits.varint(self.values.shape[1]),
                struct.pack("<q", int(self.seeds[row])),
                pack_values(self.values[row], self.kind, None if self.scale is None else self.scale[row]),
            )
        )

    @classmethod
    def decode(cls, reader: Reader, dtype: torch.dtype, kind: str) -> Self:
        """Read one row after its head; see :meth:`Payload.decode`."""
        size = reader.size()
        if size > LARGEST_SIZE:
            raise DecodeError(
                f"size: {size}; at most {LARGEST_SIZE} is allowed for indices that a seed stands for"
            )
        k = reader.varint("count", size)
        (seed,) = struct.unpack("<q", reader.take(8, "seed"))
        values, scale = take_values(reader, k, kind, dtype)
        reader.end()
        return cls(torch.tensor([seed], dtype=torch.int64), values, size, kind, scale)
