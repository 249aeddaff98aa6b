"""A mask in numbers: as factors, as counts and as positions, without the slow conversions of bool tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fedsparse.masks.last import Last

__all__ = ["factors", "places", "sizes"]

_PLACES: Last[Tensor] = Last()
_FACTORS: Last[Tensor] = Last()


def factors(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The mask ``[C, d]`` as 0 and 1 of a floating-point type; not to be written to."""
    known = _FACTORS.get(mask, dtype) if len(mask) == 1 else None
    if known is not None:
        return known
    made = mask.view(torch.uint8).to(dtype)
    return _FACTORS.put(mask, made, dtype) if len(mask) == 1 else made


def sizes(mask: Tensor) -> Tensor:
    """How many weights each mask of ``[C, d]`` has, ``[C]`` int64."""
    # Along an axis both NumPy and PyTorch make integers of all entries first; of one row NumPy counts the bits.
    return torch.tensor([np.count_nonzero(row) for row in mask.numpy()])


def places(mask: Tensor) -> Tensor:
    """Where the mask ``[d]`` is true, ascending; not to be written to."""
    known = _PLACES.get(mask)
    return _PLACES.put(mask, mask.nonzero()[:, 0]) if known is None else known
