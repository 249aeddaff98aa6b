"""Norms of rows, the same bits for a row alone and in a batch, and for any number of threads.

One NumPy call for each row: reductions over a batch, or by several threads, may group the terms differently.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["l2_norm", "max_norm", "mean_magnitudes"]

Row = npt.NDArray[Any]

_BLOCK = 4096

_LOST = 1e-20
"""Share of a sum of squares that what is lost in it does not reach."""


def max_norm(x: Tensor) -> Tensor:
    """Largest magnitudes of ``x [C, d]``, ``[C]`` float64; NaN where an entry is."""
    return torch.tensor([_largest(row) for row in x.detach().numpy()], dtype=torch.float64)


def l2_norm(x: Tensor) -> Tensor:
    """Euclidean norms of ``x [C, d]``, ``[C]`` float64; no square over- or underflows."""
    return torch.tensor([_euclidean(row) for row in x.detach().numpy()], dtype=torch.float64)


def mean_magnitudes(x: Tensor, length: int) -> Tensor:
    """Means of ``|x|`` over blocks of ``length`` entries, the last block over what it has.

    Args:
        x: ``[C, d]``.
        length: 1 to d.

    Returns:
        ``[C, ceil(d / length)]`` float64.
    """
    rows, size = x.shape
    blocks = -(-size // length)
    padded = np.zeros(blocks * length)
    means = np.empty((rows, blocks))
    for row, mean in zip(x.detach().numpy(), means, strict=True):
        np.abs(row, out=padded[:size], casting="safe")
        padded.reshape(blocks, length).sum(axis=1, out=mean)
    lengths = np.full(blocks, length)
    lengths[-1] = size - (blocks - 1) * length
    return torch.from_numpy(means / lengths)


def _largest(row: Row) -> float:
    return float(np.abs(row).max())


def _euclidean(row: Row) -> float:
    """Sums of some thousand squares in the row's precision, and their sum in double precision."""
    blocks = row[: len(row) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    rest = row[blocks.size :]
    with np.errstate(over="ignore"):
        sums = np.einsum("ij,ij->i", blocks, blocks)
        square = float(sums.sum(dtype=np.float64)) + float(np.einsum("i,i", rest, rest))
    tiny, huge = np.finfo(row.dtype).tiny, np.finfo(row.dtype).max
    # Squares that are lost below the smallest number do not count beside so large a sum.
    return math.sqrt(square) if tiny / _LOST < square <= huge else _scaled_euclidean(row)


def _scaled_euclidean(row: Row) -> float:
    top = _largest(row)
    if top == 0 or not math.isfinite(top):
        return top
    return top * math.sqrt(float(np.square(row / row.dtype.type(top), dtype=np.float64).sum()))
