"""Weighted sums of dense vectors that lie in batches.

Where most receivers have their senders in one batch, and near each other, that batch is summed as it lies: on a ring a
vector is read from memory once and met again in the cache. Of the rest, where few are read twice, each vector is added
where it lies. All else goes in panels of columns: a panel of all vectors is copied into one small matrix, summed there,
and the sums are written, so that the cache serves any graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from fedsparse.aggregate import Share
from fedsparse.engine.gossip import chains
from fedsparse.engine.gossip.sums import Sums

__all__ = ["add_batches", "sum_batches"]

_Picks: TypeAlias = list[tuple[Tensor, Tensor | slice]]
"""Batches, and which of their rows are meant."""

_PANEL = 1 << 23
"""Bytes of a panel of vectors and sums."""

_ALIGNED = 64
"""Columns that a panel is a multiple of."""

_RANGES = 4
"""Ranges of columns that are run side by side."""

_NEAR = 1 << 22
"""Bytes of vectors that are still in the cache when they are wanted again."""


def sum_batches(weights: csr_array, batches: Sequence[Tensor], share: Share | None) -> Tensor:
    """Weighted sums ``[R, d]`` of the rows of ``batches``, ``[., d]`` each and S in all; weights ``[R, S]``."""
    size, dtype = batches[0].shape[1], batches[0].dtype
    home = None if share else _home(weights, batches)
    if home is None:
        out = batches[0].new_empty(weights.shape[0], size)
        _write(weights, batches, out, share)
        return out
    batch, own, others = home
    out = Sums.by(own, dtype).of(batch)
    if len(others):
        _write_rows(weights[others], batches, out, others)
    return out


def add_batches(weights: csr_array, batches: Sequence[Tensor], out: Tensor, share: Share | None) -> None:
    """Adds to sums ``out [R, d]`` over earlier senders what comes next in order."""
    receivers = weights.shape[0]
    at = weights.indptr[:-1]
    columns = np.insert(weights.indices + receivers, at, np.arange(receivers))
    factors = np.insert(weights.data, at, 1.0)
    starts = weights.indptr + np.arange(receivers + 1)
    both = csr_array((factors, columns, starts), shape=(receivers, receivers + weights.shape[1]))
    _write_panels(both, [out, *batches], out, share)


def _home(
    weights: csr_array, batches: Sequence[Tensor]
) -> tuple[Tensor, csr_array, NDArray[np.int64]] | None:
    """The batch that has all senders of most receivers, if those are near each other.

    Returns:
        The batch; the weights of these receivers for its rows, none for others; and who the others are.
    """
    bounds = np.cumsum([0, *(batch.shape[0] for batch in batches)])
    starts = weights.indptr.astype(np.int64)
    place = np.searchsorted(bounds, weights.indices, side="right") - 1
    hears = np.diff(starts) > 0
    first, last = np.full((2, len(hears)), -1)
    first[hears], last[hears] = place[starts[:-1][hears]], place[starts[1:][hears] - 1]
    within = np.bincount(first[hears & (first == last)], minlength=len(batches))
    chosen = int(within.argmax())
    batch, low = batches[chosen], bounds[chosen]
    own = hears & (first == chosen) & (last == chosen)
    if not own.any() or 2 * own.sum() < len(own) or not batch.is_contiguous():
        return None
    kept = np.repeat(own, np.diff(starts))
    indices = weights.indices[kept] - low
    if not _near(indices, _NEAR // (batch.element_size() * max(batch.shape[1], 1))):
        return None
    ends = np.cumsum([0, *np.where(own, np.diff(starts), 0)])
    alone = csr_array((weights.data[kept], indices, ends), shape=(len(own), len(batch)))
    return batch, alone, np.flatnonzero(~own)


def _near(rows: NDArray[np.int64], room: int) -> bool:
    """Whether a cache with room for so many rows reads nearly all of them once, in this order."""
    order = np.argsort(rows, kind="stable")
    again = np.diff(rows[order]) == 0
    found = np.count_nonzero(np.diff(order)[again] <= room)
    different = len(rows) - np.count_nonzero(again)
    return bool(len(rows) - found <= 1.5 * different)


def _write(weights: csr_array, batches: Sequence[Tensor], out: Tensor, share: Share | None) -> None:
    if share is None and _chained(weights, out.dtype):
        chains.write_chains(weights, batches, out.unbind())
    else:
        _write_panels(weights, batches, out, share)


def _write_rows(
    weights: csr_array, batches: Sequence[Tensor], out: Tensor, receivers: NDArray[np.int64]
) -> None:
    """Writes the sums of a few ``receivers [R]`` to their rows of ``out``; weights ``[R, S]``."""
    if _chained(weights, out.dtype):
        chains.write_chains(weights, batches, [out[row] for row in receivers.tolist()])
        return
    rest = out.new_empty(len(receivers), out.shape[1])
    _write_panels(weights, batches, rest, None)
    out[torch.from_numpy(receivers)] = rest


def _chained(weights: csr_array, dtype: torch.dtype) -> bool:
    return chains.fits(weights, len(np.unique(weights.indices)), dtype)


def _write_panels(weights: csr_array, batches: Sequence[Tensor], out: Tensor, share: Share | None) -> None:
    """Writes the weighted sums of the rows of ``batches`` to ``out``, which may be the first of them."""
    used, columns = np.unique(weights.indices, return_inverse=True)
    if not len(used):
        out.zero_()
        return
    shape = (weights.shape[0], len(used))
    sums = Sums.by(csr_array((weights.data, columns, weights.indptr), shape=shape), out.dtype)
    picks = _pick(batches, used)
    width = max(_PANEL // (out.element_size() * sum(shape)) // _ALIGNED, 1) * _ALIGNED
    if share is None:
        _fill(sums, picks, out, width, 0, out.shape[1])
        return
    span = -(-out.shape[1] // (_RANGES * width)) * width
    share([partial(_fill, sums, picks, out, width, a, a + span) for a in range(0, out.shape[1], span)])


def _pick(batches: Sequence[Tensor], used: NDArray[np.int64]) -> _Picks:
    """Batches with those of their rows that are used."""
    picks: _Picks = []
    bounds = np.cumsum([0, *(batch.shape[0] for batch in batches)])
    for batch, (first, last) in zip(batches, pairwise(bounds), strict=True):
        rows = used[np.searchsorted(used, first) : np.searchsorted(used, last)] - first
        if len(rows):
            run = slice(int(rows[0]), int(rows[-1]) + 1)
            picks.append((batch, run if run.stop - run.start == len(rows) else torch.from_numpy(rows)))
    return picks


def _fill(sums: Sums, picks: _Picks, out: Tensor, width: int, first: int, last: int) -> None:
    """Writes the columns ``first`` to ``last`` of ``out``."""
    counts = [rows.stop - rows.start if isinstance(rows, slice) else len(rows) for _, rows in picks]
    last = min(last, out.shape[1])
    memory = out.new_empty(sum(counts) * min(width, last - first))
    for a in range(first, last, width):
        b = min(a + width, last)
        table = memory[: sum(counts) * (b - a)].view(-1, b - a)
        for (batch, rows), into in zip(picks, torch.split(table, counts), strict=True):
            if isinstance(rows, slice):
                into.copy_(batch[rows, a:b])
            else:
                torch.index_select(batch[:, a:b], 0, rows, out=into)
        out[:, a:b] = sums.of(table)
