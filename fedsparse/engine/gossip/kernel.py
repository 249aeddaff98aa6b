"""Sums of messages with weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.sparse import csr_array
from torch import Tensor

from fedsparse.message import Payload

__all__ = ["mix"]


def mix(weights: csr_array, parts: Sequence[Payload | Tensor], out: Tensor) -> None:
    """Temporary."""
    rows = torch.cat([p if isinstance(p, Tensor) else p.dense() for p in parts])
    out.zero_()
    for r in range(weights.shape[0]):
        a, b = weights.indptr[r], weights.indptr[r + 1]
        for j, w in zip(weights.indices[a:b].tolist(), weights.data[a:b].tolist(), strict=True):
            out[r].add_(rows[j], alpha=w)
