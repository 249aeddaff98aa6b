"""The arithmetic of gossip: for every receiver the weighted sum of the messages it has, in ascending sender.

The bits of a receiver's row depend on its own weights and messages alone: each product is added to what the senders
before it have given, from zero on, whoever else receives, however senders are cut into parts and columns into panels.
In float32 product and sum are rounded once, together (a fused multiplication and addition); in float64 each on its own.
(Where all products are too small for any number but zero, its sign is not defined.) What is not finite spreads to those
who have it, and to nobody else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from scipy.sparse import csr_array
from torch import Tensor

from fedsparse.engine.gossip import panels
from fedsparse.engine.gossip.entries import sum_entries
from fedsparse.message import Dense, MaskedDense, Payload, SeededSparse, Sparse

__all__ = ["mix", "ways"]

_DECODED = 1 << 24
"""Values that are made dense at a time."""


def mix(weights: csr_array, parts: Sequence[Payload | Tensor]) -> Tensor:
    """Weighted sums of messages.

    Args:
        weights: ``[R, S]``, a row for each receiver, with sorted indices; rounded to the dtype of the messages.
        parts: batches of messages, or of plain vectors, whose rows one after another are those of the S senders.

    Returns:
        ``[R, d]``, in memory of its own.
    """
    weights, parts = _heard(weights, parts)
    sparse = [part for part in parts if isinstance(part, Sparse | SeededSparse)]
    if len(sparse) == len(parts):
        return sum_entries(weights, sparse)
    groups = _groups(parts)
    batches = next(groups)
    last = _rows(batches)
    out = panels.sum_batches(weights[:, :last] if last < weights.shape[1] else weights, batches)
    for batches in groups:
        first, last = last, last + _rows(batches)
        panels.add_batches(weights[:, first:last], batches, out)
    return out


def ways(weights: csr_array, parts: Sequence[Payload | Tensor]) -> list[str]:
    """How :func:`mix` sums dense messages, for people; arguments as there."""
    weights, parts = _heard(weights, parts)
    return panels.ways(weights, next(_groups(parts)))


def _heard(
    weights: csr_array, parts: Sequence[Payload | Tensor]
) -> tuple[csr_array, Sequence[Payload | Tensor]]:
    """The parts that have messages of those who are heard, one at least, and the weights for their rows."""
    counts = np.array([part.shape[0] if isinstance(part, Tensor) else part.rows for part in parts])
    bounds = np.cumsum(counts)
    place = np.searchsorted(bounds, weights.indices, side="right")
    used = np.unique(place) if len(place) else np.zeros(1, dtype=np.int64)
    if len(used) == len(parts):
        return weights, parts
    left_out = np.cumsum(np.where(np.isin(np.arange(len(parts)), used), 0, counts))
    shape = (weights.shape[0], int(counts[used].sum()))
    columns = weights.indices - left_out[place]
    return csr_array((weights.data, columns, weights.indptr), shape=shape), [parts[k] for k in used.tolist()]


def _rows(batches: Sequence[Tensor]) -> int:
    return sum(batch.shape[0] for batch in batches)


def _groups(parts: Sequence[Payload | Tensor]) -> Iterator[list[Tensor]]:
    """Dense batches of all parts in order: together what lies in memory, and a few rows at a time what does not."""
    for plain, some in groupby(parts, lambda part: isinstance(part, Tensor | Dense | MaskedDense)):
        if plain:
            yield [part if isinstance(part, Tensor) else part.dense() for part in some]
            continue
        for part in some:
            assert not isinstance(part, Tensor)  # noqa: S101 - those are plain
            step = max(1, _DECODED // max(part.size, 1))
            for row in range(0, max(part.rows, 1), step):
                yield [part.select(slice(row, row + step)).dense()]
