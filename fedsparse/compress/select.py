"""The k largest entries of every row, exactly, at a few times the cost of taking absolute values.

A strided sample gives a threshold that almost surely lets k entries pass, and not many more; only these are
partitioned. Where the sample misled, the whole row is: the result is exact in every case.

Magnitudes are compared as the bits of the floats without their sign. As integers these order exactly as the
magnitudes do, with NaN above infinity.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedsparse.errors import ProtocolError

__all__ = ["largest"]

Integers = npt.NDArray[Any]
"""Signed integers as wide as the floats whose bits they are."""

Indices = npt.NDArray[np.int64]

STRIDE = 61
"""One entry in so many is sampled; a prime, so that layouts of round sizes do not resonate with it."""

SMALL = 4096
"""Up to this row length the sample costs more than it saves; rows are then partitioned together."""

TOGETHER = 1 << 20
"""Entries partitioned together, so that the temporaries stay in cache."""


def largest(x: Tensor, k: int) -> Tensor:
    """Indices of the ``k`` entries of largest magnitude in each row.

    Of equal magnitudes the lowest index wins. NaN counts as larger than infinity, so that a damaged vector
    shows its damage to whoever receives it.

    Args:
        x: ``[C, d]``, float32 or float64.
        k: 0 <= k <= d.

    Returns:
        ``[C, k]`` int64, ascending in each row. A row's indices depend on that row only.

    Raises:
        ProtocolError: the dtype is another one, or ``k`` is out of range.
    """
    rows, size = x.shape
    if not 0 <= k <= size:
        raise ProtocolError(f"largest(k={k}) of rows with {size} entries: k must be between 0 and {size}")
    if k in (0, size):
        return torch.arange(k).expand(rows, k).contiguous()
    bits, infinity = _bits(x)
    chosen = np.empty((rows, k), dtype=np.int64)
    if size <= SMALL:
        step = max(1, TOGETHER // size)
        for first in range(0, rows, step):
            block = slice(first, first + step)
            chosen[block] = _partition(_magnitudes(bits[block], infinity), k)
    else:
        for row, into in zip(bits, chosen, strict=True):
            into[:] = _filter(row & np.iinfo(row.dtype).max, k, infinity)
    return torch.from_numpy(chosen)


def _bits(x: Tensor) -> tuple[Integers, int]:
    """The floats' bits as signed integers, and the bits of infinity."""
    floats = x.detach().numpy()
    if floats.dtype == np.float32:
        return floats.view(np.int32), 0x7F80_0000
    if floats.dtype == np.float64:
        return floats.view(np.int64), 0x7FF0_0000_0000_0000
    raise ProtocolError(f"entries of dtype {x.dtype} cannot be selected: compressors take float32 or float64")


def _magnitudes(bits: Integers, infinity: int) -> Integers:
    """Keys that order as the magnitudes; every NaN has the same one, ``infinity + 1``."""
    keys: Integers = bits & np.iinfo(bits.dtype).max
    return np.minimum(keys, infinity + 1, out=keys)


def _partition(keys: Integers, k: int) -> Indices:
    """Columns of the ``k`` largest of each row of ``keys [R, n]``, ascending; ties by lowest column."""
    place = keys.shape[1] - k
    border = np.partition(keys, place, axis=1)[:, place, None]
    chosen = keys > border
    tied = keys == border
    missing = k - np.count_nonzero(chosen, axis=1)[:, None]
    if (np.count_nonzero(tied, axis=1)[:, None] > missing).any():
        tied &= np.cumsum(tied, axis=1) <= missing
    chosen |= tied
    columns: Indices = np.nonzero(chosen)[1].reshape(len(keys), k)
    return columns


def _filter(keys: Integers, k: int, infinity: int) -> Indices:
    """Indices of the ``k`` largest of one long row; NaNs in ``keys [d]`` are not yet made equal."""
    sample = keys[::STRIDE]
    # If more than `rank` of the k largest were sampled, too few would pass: four deviations make that rare.
    expected = k * len(sample) / len(keys)
    rank = int(expected + 4 * expected**0.5 + 4)
    if rank < len(sample) // 2:
        place = len(sample) - rank
        threshold = min(int(np.partition(sample, place)[place]), infinity + 1)
        passed = _at_least(keys, threshold)
        if len(passed) >= k:
            kept = _partition(_magnitudes(keys[passed], infinity)[None], k)
            return passed[kept].reshape(k)
    return _partition(_magnitudes(keys, infinity)[None], k).reshape(k)


def _at_least(keys: Integers, threshold: int) -> Indices:
    """``np.flatnonzero(keys >= threshold)`` in half its time where few pass: eight are skipped at once."""
    answers = np.zeros(-(-len(keys) // 8) * 8, dtype=np.bool_)
    np.greater_equal(keys, threshold, out=answers[: len(keys)])
    words = answers.view(np.uint64)
    some = np.flatnonzero(words != 0)
    within = np.flatnonzero(words[some].view(np.bool_))
    indices: Indices = some[within >> 3] * 8 + (within & 7)
    return indices
