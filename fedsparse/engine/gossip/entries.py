"""Weighted sums of vectors of few entries: only these are touched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from fedsparse.message import SeededSparse, Sparse, concatenate

__all__ = ["sum_entries"]

_ENTRIES = 1 << 18
"""Entries, about, that are gathered at a time."""


def sum_entries(weights: csr_array, parts: Sequence[Sparse | SeededSparse]) -> Tensor:
    """Weighted sums ``[R, d]`` of sparse messages.

    The first senders of several receivers are added at once, then their second ones, and so on: no entry is met twice
    at a time, and each receiver's are in the order of its senders.

    Args:
        weights: ``[R, S]``, with sorted indices.
        parts: S rows in all.
    """
    messages = concatenate([_listed(part) for part in parts])
    out = messages.values.new_zeros(weights.shape[0], messages.size)
    factors = torch.from_numpy(weights.data).to(out.dtype)
    step = max(1, _ENTRIES // max(int(messages.counts.max()), 1)) if messages.rows else 1
    for first in range(0, weights.shape[0], step):
        starts = weights.indptr[first : first + step + 1].astype(np.int64)
        degrees = np.diff(starts)
        for place in range(int(degrees.max(initial=0))):
            receivers = np.flatnonzero(degrees > place)
            edges = starts[receivers] + place
            senders = torch.from_numpy(weights.indices[edges].astype(np.int64))
            _add(messages.select(senders), torch.from_numpy(first + receivers), factors[edges], out)
    return out


def _listed(part: Sparse | SeededSparse) -> Sparse:
    return part if isinstance(part, Sparse) else Sparse.of(part.indices, part.values, part.size)


def _add(messages: Sparse, receivers: Tensor, factors: Tensor, out: Tensor) -> None:
    """Adds a message to each of several rows of ``out``."""
    places = (receivers * out.shape[1]).repeat_interleave(messages.counts) + messages.indices
    each, flat = factors.repeat_interleave(messages.counts), out.view(-1)
    sums = flat.index_select(0, places)
    if out.dtype == torch.float32:
        sums.addcmul_(each, messages.values)  # rounded once
    else:
        sums += each * messages.values
    flat.index_copy_(0, places, sums)
