"""Coordinates in units of a step: what all compressors to a uniform grid share."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["in_steps"]


def in_steps(x: Tensor, step: Tensor, levels: int) -> Tensor:
    """``x / step``, kept within ``levels`` steps of zero where division rounds beyond.

    A row whose step is zero, infinite or NaN becomes zero: its payload is then zero or NaN by its step alone,
    so that a damaged row arrives as NaN.

    Args:
        x: ``[C, d]``.
        step: ``[C]``, in the dtype of ``x``, as the receiver will read it.
        levels: s.
    """
    usable = (step > 0) & step.isfinite()
    steps = x / torch.where(usable, step, 1)[:, None]
    return torch.where(usable[:, None], steps, 0).clamp_(-levels, levels)
