"""Weighted sums of dense vectors, one vector after the other, each read where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from fedsparse.engine.gossip.sums import Sums

__all__ = ["fits", "write_chains"]

_AGAIN = 3
"""How often, on average, a vector may be read for this to be the fastest way."""


def fits(weights: csr_array, used: int, dtype: torch.dtype) -> bool:
    """Whether this is fast for sums of so many different vectors, and has the bits of other ways."""
    return len(weights.indices) <= _AGAIN * used and _agrees(dtype)


def write_chains(weights: csr_array, batches: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """Writes the sums with ``weights [R, S]`` of the rows of ``batches`` to R rows ``[d]``."""
    bounds = np.cumsum([0, *(batch.shape[0] for batch in batches)])
    place = np.searchsorted(bounds, weights.indices, side="right") - 1
    rows = (weights.indices - bounds[place]).tolist()
    terms = [batches[k][row] for k, row in zip(place.tolist(), rows, strict=True)]
    like = batches[0]
    factors = torch.from_numpy(weights.data).to(like.dtype).tolist()
    starts, zero, one = weights.indptr.tolist(), like.new_zeros(1), like.new_ones(1)
    for into, first, last in zip(out, starts[:-1], starts[1:], strict=True):
        if first == last:
            into.zero_()
        acc = zero
        for e in range(first, last):
            if like.dtype == torch.float32:
                torch.add(acc, terms[e], alpha=factors[e], out=into)  # rounded once
            else:
                torch.addcmul(acc, terms[e], one, value=factors[e], out=into)
            acc = into


@cache
def _agrees(dtype: torch.dtype) -> bool:
    """Whether this machine's additions have the bits of bags."""
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.standard_normal((9, 1003))).to(dtype)
    weights = csr_array(rng.standard_normal((2, 9)))
    out = torch.empty(2, 1003, dtype=dtype)
    write_chains(weights, [rows], out.unbind())
    return torch.equal(out, Sums.by(weights, dtype, product=False).of(rows))
