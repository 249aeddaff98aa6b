"""The k largest entries of every row, exactly, at a few times the cost of taking absolute values.

Of few entries the indices are found. A sample gives a threshold that almost surely lets k entries pass, and not many
more. Two comparisons tell which groups of eight neighbours have an entry that passes, and only these groups are
partitioned. Marks for all are made by two such thresholds, as :mod:`fedsparse.compress.bracket` says. Where the sample
misled, whole rows are partitioned: the result is exact in every case.

Magnitudes are compared as the bits of the floats without their sign. As integers these order exactly as the
magnitudes do, with NaN above infinity.

Rows are taken together up to about a million entries: what one operation leaves is then in cache for the next, and
each one runs long enough for other threads to run beside it, for NumPy holds Python's lock between two of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedsparse.compress.bracket import marked
from fedsparse.errors import ProtocolError

__all__ = ["is_largest", "largest"]

Floats = npt.NDArray[Any]

Integers = npt.NDArray[Any]
"""Signed integers as wide as the floats whose bits they are."""

Indices = npt.NDArray[np.int64]

Marks = npt.NDArray[np.bool_]

TOGETHER = 1 << 20
"""Entries that are handled together, if it is more than one row."""

SMALL = 1 << 15
"""Up to this row length the sample costs more than it saves."""

FEW = 40
"""If no more than one of so many entries is chosen, their indices are found sooner than marks for all."""

RUN = 32
"""Neighbours that are sampled together, for they come from memory together."""

STRIDE = 31 * RUN
"""One run in so many entries; 31 is a prime, so that layers of round sizes do not resonate with it."""

GROUP = 8
"""Neighbours whose marks are one 64-bit word, so that one comparison tells whether any of them passed."""

NONE_PASSED = np.uint64(0x0101_0101_0101_0101)
"""The word of a group of which all entries lie below the threshold."""


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
    floats, size = _checked(x, k), x.shape[1]
    rows = len(floats)
    if k in (0, size):
        return torch.arange(k).expand(rows, k).contiguous()
    chosen = np.empty((rows, k), dtype=np.int64)
    step = max(1, TOGETHER // size)
    for first in range(0, rows, step):
        some = np.ascontiguousarray(floats[first : first + step])
        found = _filtered(some, k) if size > SMALL else None
        if found is None:
            found = _unfiltered(some, k)
        np.subtract(found, _starts(some), out=chosen[first : first + step])
    return torch.from_numpy(chosen)


def is_largest(x: Tensor, k: int) -> Tensor:
    """Which entries of each row :func:`largest` finds, ``[C, d]`` bool.

    Args:
        x: ``[C, d]``, float32 or float64.
        k: 0 <= k <= d.

    Raises:
        ProtocolError: the dtype is another one, or ``k`` is out of range.
    """
    floats, size = _checked(x, k), x.shape[1]
    if k in (0, size):
        return torch.full(x.shape, k > 0)
    if size > SMALL and FEW * k < size:
        return torch.zeros(x.shape, dtype=torch.bool).scatter_(1, largest(x, k), True)
    marks = np.empty(x.shape, dtype=np.bool_)
    if size > SMALL:
        for given, found in zip(floats, marks, strict=True):
            row = np.ascontiguousarray(given)
            # Every other run: the fewer are sampled, the more lie between the borders, which is cheaper up to here.
            sample = _sampled(row[None]).reshape(-1, RUN)[::2].reshape(-1)
            if not marked(_bits(row), sample, k, found):
                found[:] = False
                found[_unfiltered(row[None], k)] = True
        return torch.from_numpy(marks)
    step = max(1, TOGETHER // size)
    for first in range(0, len(floats), step):
        keys = _keys(np.ascontiguousarray(floats[first : first + step]))
        border, found = _border(keys, k), marks[first : first + step]
        np.greater_equal(keys, border, out=found)
        if np.count_nonzero(found) > len(found) * k:
            for row, own, least in zip(found, keys, border, strict=True):
                row[:] = False
                row[_untied(own, least, k)] = True
    return torch.from_numpy(marks)


def _checked(x: Tensor, k: int) -> Floats:
    """The rows, of which ``k`` entries can be chosen."""
    size = x.shape[1]
    if not 0 <= k <= size:
        raise ProtocolError(f"largest(k={k}) of rows with {size} entries: k must be between 0 and {size}")
    if x.dtype not in {torch.float32, torch.float64}:
        raise ProtocolError(
            f"entries of dtype {x.dtype} cannot be selected: compressors take float32 or float64"
        )
    floats: Floats = x.detach().numpy()
    return floats


def _starts(x: Floats) -> Indices:
    """Where each row starts in the flat ``x [R, n]``, ``[R, 1]``."""
    return np.arange(0, x.size, x.shape[1])[:, None]


def _bits(x: Floats) -> Integers:
    return x.view(np.int32 if x.itemsize == 4 else np.int64)


def _keys(x: Floats) -> Integers:
    """Integers that order as the magnitudes do; NaNs are above infinity, and not yet equal."""
    bits = _bits(x)
    keys: Integers = bits & np.iinfo(bits.dtype).max
    return keys


def _nan(keys: Integers) -> int:
    """The key that all NaNs get: the bits of infinity, and one more."""
    return 0x7F80_0001 if keys.itemsize == 4 else 0x7FF0_0000_0000_0001


def _unfiltered(x: Floats, k: int) -> Indices:
    """Where in the flat ``x [R, d]`` the ``k`` largest of each row are, ``[R, k]``."""
    keys = _keys(x)
    return _reaching(keys, _border(keys, k), k)


def _filtered(x: Floats, k: int) -> Indices | None:
    """The same, or ``None`` where k entries of a row do not stand out from the others."""
    sample = _sampled(x)
    count = sample.shape[1]
    expected = k * count / x.shape[1]
    # If more than `rank` of the k largest were sampled, too few would pass: three deviations make that rare.
    rank = int(expected + 3 * expected**0.5 + 3)
    # With a tenth of all entries, more than half of the groups would be left and little gained.
    while 10 * rank < count:
        place = count - rank
        sample.partition(place, axis=1)
        least = np.minimum(sample[:, place, None], _nan(sample))
        if not least.all():
            break
        groups, keys = _gathered(x, _passed(x, least.view(x.dtype)))
        if keys.shape[1] >= k:
            border = _border(keys, k)
            if (border >= least).all():
                found = _reaching(keys, border, k)
                return found + ((groups - np.arange(groups.size)) * GROUP).take(found >> 3)
        rank *= 4
    return None


def _sampled(x: Floats) -> Integers:
    """Keys of a part of each row, ``[R, n]``."""
    rows, size = x.shape
    runs = x[:, : size // STRIDE * STRIDE].reshape(rows, -1, STRIDE)[:, :, :RUN]
    return _keys(runs.reshape(rows, -1))


def _outer_groups(x: Floats) -> tuple[Indices, Indices]:
    """In which groups of the flat ``x [R, d]`` each row starts and ends, both ``[R]``; rows may share them."""
    starts = _starts(x)[:, 0]
    return starts // GROUP, (starts + x.shape[1] - 1) // GROUP


def _passed(x: Floats, least: Floats) -> Indices:
    """The groups of the flat ``x [R, d]`` with an entry that is not below its row's ``least [R, 1]``.

    Those where a row starts or ends are there in any case.
    """
    size = x.shape[1]
    groups = -(-x.size // GROUP)
    marks = _room(groups)
    below, above = np.empty((2, min(groups * GROUP, TOGETHER)), dtype=np.bool_)
    for first in range(0, size, TOGETHER):  # Once, but for a row that is longer.
        part = x[:, first : first + TOGETHER]
        np.less(part, least, out=below[: part.size].reshape(part.shape))
        np.greater(part, -least, out=above[: part.size].reshape(part.shape))
        words = below.view(np.uint64)[: -(-part.size // GROUP)]
        words &= above.view(np.uint64)[: len(words)]
        start = first // GROUP
        np.not_equal(words, NONE_PASSED, out=marks[start : start + len(words)])
    marks[np.concatenate(_outer_groups(x))] = True
    return _true(marks, groups)


def _gathered(x: Floats, groups: Indices) -> tuple[Indices, Integers]:
    """The groups of each row, and their keys.

    Args:
        x: ``[R, d]``.
        groups: of the flat ``x``, ascending, with those where a row starts or ends.

    Returns:
        The groups, row after row as many as the longest one has, ``[R w]``, and their keys ``[R, 8 w]``; -1 where
        an entry is of another row, or there is none.
    """
    rows, size = x.shape
    first, last = _outer_groups(x)
    begin, end = np.searchsorted(groups, first), np.searchsorted(groups, last)
    width = int((end - begin).max()) + 1
    groups = groups.take(begin[:, None] + np.arange(width), mode="clip")
    flat = _bits(x.reshape(-1))
    rest = x.size % GROUP
    keys = flat[: x.size - rest].reshape(-1, GROUP).take(groups, axis=0, mode="clip")
    if rest:
        keys[-1, end[-1] - begin[-1], :rest] = flat[x.size - rest :]
    keys &= np.iinfo(keys.dtype).max
    for row, start in enumerate(_starts(x)[:, 0]):
        ends = end[row] - begin[row]
        keys[row, 0, : start - GROUP * first[row]] = -1
        keys[row, ends, start + size - GROUP * last[row] :] = -1
        keys[row, ends + 1 :] = -1
    return groups.reshape(-1), keys.reshape(rows, -1)


def _border(keys: Integers, k: int) -> Integers:
    """The k-th largest key of each row of ``keys [R, n]``, ``[R, 1]``. Makes NaNs equal, in place."""
    place = keys.shape[1] - k
    border: Integers = np.partition(keys, place, axis=1)[:, place, None]
    if border.max() >= _nan(keys):
        np.minimum(keys, _nan(keys), out=keys)
        np.minimum(border, _nan(keys), out=border)
    return border


def _reaching(keys: Integers, border: Integers, k: int) -> Indices:
    """Where in the flat ``keys [R, n]`` the ``k`` largest of each row are, ``[R, k]``, ascending; ties by lowest index.

    Args:
        keys: of R rows.
        border: the k-th largest key of each row, ``[R, 1]``.
        k: at least 1.
    """
    marks = _room(keys.size)
    np.greater_equal(keys, border, out=marks[: keys.size].reshape(keys.shape))
    found = _true(marks, keys.size)
    if found.size > len(keys) * k:
        columns = [_untied(row, least, k) for row, least in zip(keys, border, strict=True)]
        return np.stack(columns) + _starts(keys)
    return found.reshape(-1, k)


def _untied(keys: Integers, border: Integers, k: int) -> Indices:
    """The ``k`` columns of one row: those above the border, and the first ones on it."""
    above, tied = np.flatnonzero(keys > border), np.flatnonzero(keys == border)
    return np.sort(np.concatenate((above, tied[: k - len(above)])))


def _room(count: int) -> Marks:
    """Space for ``count`` marks, and behind them the ones that :func:`_true` wants."""
    marks = np.empty(count + count // 8 + 1, dtype=np.bool_)
    marks[count:] = True
    return marks


def _true(marks: Marks, count: int) -> Indices:
    """Where the first ``count`` marks are true.

    NumPy skips from one to the next where at most a tenth are, which a processor cannot foresee; above that it does
    not branch, and takes a third of the time. So if they are nearly that many, those behind are counted in.
    """
    some = int(np.count_nonzero(marks[:count]))
    crowded = count < 32 * some and 10 * some <= count
    return np.flatnonzero(marks if crowded else marks[:count])[:some]
