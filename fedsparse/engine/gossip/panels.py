"""Weighted sums of dense vectors, in panels of columns that stay in the cache.

A panel of all vectors is read from memory once, and each sum is written once. Within a panel the sums are *bags*, which
go through a receiver's own senders and keep the sum in registers, or one dense *product*, where most receivers have
most senders. Both give the same bits: of the product this is tried before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from fedsparse.aggregate import Share

__all__ = ["write_panels"]

_PANEL = 1 << 23
"""Bytes of a panel of vectors and sums."""

_ALIGNED = 64
"""Columns that a panel is a multiple of."""

_RANGES = 4
"""Ranges of columns that are run side by side."""

_LARGEST_PRODUCT = 256
"""Vectors up to which a product adds them one after the other."""

_DENSE, _FEW = 0.2, 3
"""A product is faster if more than this share of its weights is not zero, and more yet where it is small."""


@dataclass(frozen=True)
class _Sums:
    """Which rows of a table are summed, and how.

    Attributes:
        indices: rows of the table, those of a sum one after another, ascending.
        starts: where each sum's rows start, and where the last ends.
        weights: of each.
        matrix: all weights ``[R, n]``, where the sums are one product.
    """

    indices: Tensor
    starts: Tensor
    weights: Tensor
    matrix: Tensor | None

    def of(self, table: Tensor) -> Tensor:
        """The sums ``[R, w]`` of the rows of ``table [n, w]``."""
        if self.matrix is not None and table.shape[1] > 1:  # one column would take another routine
            sums = _product(self.matrix, table)
            # Zero times infinity is no number: what is not finite shows in every row, also of those who do not have it.
            if bool(sums[0].isfinite().all()):
                return sums
        return _bags(self.indices, self.starts, self.weights, table)


def write_panels(
    weights: csr_array, batches: Sequence[Tensor], out: Tensor, share: Share | None, more: bool
) -> None:
    """Writes weighted sums of the rows of ``batches`` to ``out``, or adds to them what comes next in order.

    Args:
        weights: ``[R, S]``, with sorted indices.
        batches: ``[., d]`` each, S rows in all.
        out: ``[R, d]``.
        share: runs ranges of columns side by side.
        more: whether ``out`` has the sums over the senders before.
    """
    used, columns = np.unique(weights.indices, return_inverse=True)
    picks = _pick(batches, used)
    if more:
        picks.insert(0, (out, None))
    elif not len(used):
        out.zero_()
        return
    sums = _sums(weights, columns, len(used), out.dtype, more)
    height = len(used) + len(out) * (1 + more)
    width = max(_PANEL // (out.element_size() * height) // _ALIGNED, 1) * _ALIGNED
    if share is None:
        _write(sums, picks, out, width, 0, out.shape[1])
        return
    span = -(-out.shape[1] // (_RANGES * width)) * width
    share([partial(_write, sums, picks, out, width, a, a + span) for a in range(0, out.shape[1], span)])


def _pick(batches: Sequence[Tensor], used: np.ndarray) -> list[tuple[Tensor, Tensor | None]]:
    """Batches with those of their rows that are used; ``None``: all."""
    picks: list[tuple[Tensor, Tensor | None]] = []
    first = 0
    for batch in batches:
        rows = used[np.searchsorted(used, first) : np.searchsorted(used, first + len(batch))] - first
        if len(rows):
            picks.append((batch, None if len(rows) == len(batch) else torch.from_numpy(rows)))
        first += len(batch)
    return picks


def _sums(weights: csr_array, columns: np.ndarray, count: int, dtype: torch.dtype, more: bool) -> _Sums:
    """The sums of a table of ``count`` vectors; with ``more``, one that begins with a row for each sum until now."""
    receivers, starts, factors = weights.shape[0], weights.indptr.astype(np.int64), weights.data
    if more:
        at = starts[:-1]
        columns = np.insert(columns + receivers, at, np.arange(receivers))
        factors = np.insert(factors, at, 1.0)
        starts = starts + np.arange(receivers + 1)
    rounded = torch.from_numpy(factors).to(dtype)
    matrix = None
    if not more and _multiplies(receivers, count, len(factors), dtype):
        matrix = torch.zeros(receivers, count, dtype=dtype)
        matrix[np.repeat(np.arange(receivers), np.diff(starts)), columns] = rounded
    return _Sums(torch.from_numpy(columns.astype(np.int64)), torch.from_numpy(starts), rounded, matrix)


def _write(
    sums: _Sums,
    picks: Sequence[tuple[Tensor, Tensor | None]],
    out: Tensor,
    width: int,
    first: int,
    last: int,
) -> None:
    """Writes the columns ``first`` to ``last`` of ``out``."""
    count = sum(len(batch) if rows is None else len(rows) for batch, rows in picks)
    memory = out.new_empty(count * width)
    for a in range(first, min(last, out.shape[1]), width):
        b = min(a + width, last, out.shape[1])
        table, row = memory[: count * (b - a)].view(count, b - a), 0
        for batch, rows in picks:
            into = table[row : row + (len(batch) if rows is None else len(rows))]
            if rows is None:
                into.copy_(batch[:, a:b])
            else:
                torch.index_select(batch[:, a:b], 0, rows, out=into)
            row += len(into)
        torch.add(sums.of(table), 0.0, out=out[:, a:b])  # and -0.0 becomes 0.0


def _bags(indices: Tensor, starts: Tensor, weights: Tensor, table: Tensor) -> Tensor:
    """Each sum over its own rows, in order, kept in registers."""
    total: Tensor = torch.embedding_bag(table, indices, starts, False, 0, False, weights, True)[0]
    return total


def _find() -> Callable[..., Tensor] | None:
    """OneDNN's ``x w^T``; ``None`` where PyTorch was built without it."""
    library = getattr(torch.ops, "mkldnn", None)
    if not torch.backends.mkldnn.is_available() or not hasattr(library, "_linear_pointwise"):  # type: ignore[no-untyped-call]
        return None
    found: Callable[..., Tensor] = library._linear_pointwise  # type: ignore[union-attr]
    return found


_linear = _find()


def _product(matrix: Tensor, table: Tensor) -> Tensor:
    assert _linear is not None  # noqa: S101 - it has been tried
    return _linear(matrix, table.T, None, "none", [], "")


def _multiplies(receivers: int, count: int, weights: int, dtype: torch.dtype) -> bool:
    """Whether so many sums of ``count`` vectors are one product; one sum alone would take another routine."""
    if receivers < 2 or not 0 < count <= _LARGEST_PRODUCT or dtype != torch.float32 or _linear is None:
        return False
    share = weights / (receivers * count)
    return share >= _DENSE + _FEW / min(receivers, count) and _agrees()


@cache
def _agrees() -> bool:
    """Whether this machine's product has the bits of bags, also at the edges of its tiles."""
    rng = np.random.default_rng(0)
    for receivers, count, width in ((2, 1, 2), (3, 5, 7), (17, _LARGEST_PRODUCT, 211)):
        matrix = torch.from_numpy(rng.standard_normal((receivers, count)).astype(np.float32))
        table = torch.from_numpy(rng.standard_normal((count, width)).astype(np.float32))
        starts = torch.arange(receivers + 1) * count
        bags = _bags(torch.arange(count).repeat(receivers), starts, matrix.view(-1), table)
        if not torch.equal(_product(matrix, table), bags):
            return False
    return True
