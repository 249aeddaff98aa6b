"""Weighted sums of dense vectors that lie in batches.

Where most receivers have their senders in one batch, and near each other, that batch is summed as it lies: on a ring a
vector is read from memory once and met again in the cache. Of the rest, where few are read twice, each vector is added
where it lies. All else goes in panels of columns: a panel of all vectors is copied into one small matrix, summed there,
and the sums are written, so that the cache serves any graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from fedsparse.engine.gossip import chains
from fedsparse.engine.gossip.sums import Sums

__all__ = ["add_batches", "sum_batches", "ways"]

_Picks: TypeAlias = list[tuple[Tensor, Tensor | slice]]
"""Batches, and which of their rows are meant."""

_PANEL = 1 << 23
"""Bytes of a panel of vectors and sums."""

_ALIGNED = 64
"""Columns that a panel is a multiple of."""

_NEAR = 1 << 22
"""Bytes of vectors that are still in the cache when they are wanted again."""


def sum_batches(weights: csr_array, batches: Sequence[Tensor]) -> Tensor:
    """Weighted sums ``[R, d]`` of the rows of ``batches``, ``[., d]`` each and S in all; weights ``[R, S]``."""
    size, dtype = batches[0].shape[1], batches[0].dtype
    home = _home(weights, batches)
    if home is None:
        out = batches[0].new_empty(weights.shape[0], size)
        _write(weights, batches, out)
        return out
    batch, own, others = home
    out = Sums.by(own, dtype).of(batch)
    if len(others):
        _write_rows(weights[others], batches, out, others)
    return out


def ways(weights: csr_array, batches: Sequence[Tensor]) -> list[str]:
    """How :func:`sum_batches` does it, a line for people for each kind of receivers."""
    dtype, home = batches[0].dtype, _home(weights, batches)
    if home is None:
        return [f"{weights.shape[0]} {_way(weights, dtype)}"]
    _, own, others = home
    kind = "bags" if Sums.by(own, dtype).matrix is None else "in a product"
    found = [f"{own.shape[0] - len(others)} {kind}, a batch as it lies"]
    return [*found, f"{len(others)} {_way(weights[others], dtype)}"] if len(others) else found


def add_batches(weights: csr_array, batches: Sequence[Tensor], out: Tensor) -> None:
    """Adds to sums ``out [R, d]`` over earlier senders what comes next in order."""
    receivers = weights.shape[0]
    at = weights.indptr[:-1]
    columns = np.insert(weights.indices + receivers, at, np.arange(receivers))
    factors = np.insert(weights.data, at, 1.0)
    starts = weights.indptr + np.arange(receivers + 1)
    both = csr_array((factors, columns, starts), shape=(receivers, receivers + weights.shape[1]))
    _write_panels(both, [out, *batches], out)


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


def _write(weights: csr_array, batches: Sequence[Tensor], out: Tensor) -> None:
    if _chained(weights, out.dtype):
        chains.write_chains(weights, batches, out.unbind())
    else:
        _write_panels(weights, batches, out)


def _write_rows(
    weights: csr_array, batches: Sequence[Tensor], out: Tensor, receivers: NDArray[np.int64]
) -> None:
    """Writes the sums of a few ``receivers [R]`` to their rows of ``out``; weights ``[R, S]``."""
    if _chained(weights, out.dtype):
        chains.write_chains(weights, batches, [out[row] for row in receivers.tolist()])
        return
    rest = out.new_empty(len(receivers), out.shape[1])
    _write_panels(weights, batches, rest)
    out[torch.from_numpy(receivers)] = rest


def _chained(weights: csr_array, dtype: torch.dtype) -> bool:
    return chains.fits(weights, len(np.unique(weights.indices)), dtype)


def _way(weights: csr_array, dtype: torch.dtype) -> str:
    if _chained(weights, dtype):
        return "row by row, each where it lies"
    return "bags in panels" if _compact(weights, dtype)[0].matrix is None else "in a product, in panels"


def _compact(weights: csr_array, dtype: torch.dtype) -> tuple[Sums, NDArray[np.int64]]:
    """The sums of the rows that are used alone, and which these are."""
    used, columns = np.unique(weights.indices, return_inverse=True)
    shape = (weights.shape[0], len(used))
    return Sums.by(csr_array((weights.data, columns, weights.indptr), shape=shape), dtype), used


def _write_panels(weights: csr_array, batches: Sequence[Tensor], out: Tensor) -> None:
    """Writes the weighted sums of the rows of ``batches`` to ``out``, which may be the first of them."""
    sums, used = _compact(weights, out.dtype)
    if not len(used):
        out.zero_()
        return
    rows = weights.shape[0] + len(used)
    width = max(_PANEL // (out.element_size() * rows) // _ALIGNED, 1) * _ALIGNED
    _fill(sums, _pick(batches, used), out, width)


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


def _fill(sums: Sums, picks: _Picks, out: Tensor, width: int) -> None:
    """Writes the sums, so many columns at a time."""
    counts = [rows.stop - rows.start if isinstance(rows, slice) else len(rows) for _, rows in picks]
    memory = out.new_empty(sum(counts) * min(width, out.shape[1]))
    for a in range(0, out.shape[1], width):
        b = min(a + width, out.shape[1])
        table = memory[: sum(counts) * (b - a)].view(-1, b - a)
        for (batch, rows), into in zip(picks, torch.split(table, counts), strict=True):
            if isinstance(rows, slice):
                into.copy_(batch[rows, a:b])
            else:
                torch.index_select(batch[:, a:b], 0, rows, out=into)
        out[:, a:b] = sums.of(table)
