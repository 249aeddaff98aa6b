"""Weighted sums of the rows of one matrix: *bags*, or a dense *product*, with the same bits.

A bag goes through a receiver's own senders and keeps the sum in registers. A product is faster where most receivers
have most senders; it is tried before it is used, whether it adds one after the other and rounds as bags do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

__all__ = ["Sums"]

_LARGEST_PRODUCT = 256
"""Rows up to which a product adds them one after the other."""

_DENSE, _FEW = 0.2, 3
"""A product is faster if more than this share of its weights is not zero, and more yet where it is small."""


@dataclass(frozen=True)
class Sums:
    """R weighted sums of some of n rows.

    Attributes:
        indices: the rows of the sums, those of one after those of another, ascending in each.
        starts: where each sum's rows start, and where the last ones end, ``[R + 1]``.
        weights: of each.
        matrix: all weights ``[R, n]``, where the sums are one product.
    """

    indices: Tensor
    starts: Tensor
    weights: Tensor
    matrix: Tensor | None

    @staticmethod
    def by(weights: csr_array, dtype: torch.dtype, product: bool = True) -> Sums:
        """The sums with these weights ``[R, n]``, rounded to the dtype of the rows; a product only where it may be."""
        receivers, count = weights.shape
        indices, starts = (
            torch.from_numpy(part.astype(np.int64)) for part in (weights.indices, weights.indptr)
        )
        factors = torch.from_numpy(weights.data).to(dtype)
        matrix = None
        if product and _multiplies(receivers, count, len(factors), dtype):
            matrix = torch.zeros(receivers, count, dtype=dtype)
            matrix[torch.arange(receivers).repeat_interleave(starts.diff()), indices] = factors
        return Sums(indices, starts, factors, matrix)

    def of(self, rows: Tensor) -> Tensor:
        """The sums ``[R, w]`` of ``rows [n, w]``, contiguous."""
        if self.matrix is not None and rows.shape[1] > 1:  # one column would take another routine
            sums = _product(self.matrix, rows)
            # Zero times infinity is no number: what is not finite shows in every sum, also where it has no weight.
            if bool(sums[0].isfinite().all()):
                return sums
        return _bags(self.indices, self.starts, self.weights, rows)


def _bags(indices: Tensor, starts: Tensor, weights: Tensor, rows: Tensor) -> Tensor:
    """Each sum over its own rows, in order."""
    total: Tensor = torch.embedding_bag(rows, indices, starts, False, 0, False, weights, True)[0]
    return total


def _find() -> Callable[..., Tensor] | None:
    """OneDNN's ``x w^T``; ``None`` where PyTorch was built without it."""
    library = getattr(torch.ops, "mkldnn", None)
    if not torch.backends.mkldnn.is_available() or not hasattr(library, "_linear_pointwise"):  # type: ignore[no-untyped-call]
        return None
    found: Callable[..., Tensor] = library._linear_pointwise  # type: ignore[union-attr]
    return found


_linear = _find()


def _product(matrix: Tensor, rows: Tensor) -> Tensor:
    assert _linear is not None  # noqa: S101 - it has been tried
    return _linear(matrix, rows.T, None, "none", [], "")


def _multiplies(receivers: int, count: int, weights: int, dtype: torch.dtype) -> bool:
    """Whether so many sums of ``count`` rows are one product; one sum alone would take another routine."""
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
        rows = torch.from_numpy(rng.standard_normal((count, width)).astype(np.float32))
        starts = torch.arange(receivers + 1) * count
        bags = _bags(torch.arange(count).repeat(receivers), starts, matrix.view(-1), rows)
        if not torch.equal(_product(matrix, rows), bags):
            return False
    return True
