"""Learnt positions: every client adds its own."""

from __future__ import annotations

from torch import Tensor

from fedsparse.cohort.layers.base import Layer, Pass
from fedsparse.models._blocks import Positions

__all__ = ["TYPES", "batched"]

TYPES = (Positions,)


def batched(layer: Positions, name: str) -> Layer:
    """``[C * B, T, e]`` to the same shape."""
    del layer

    def forward(run: Pass, x: Tensor) -> Tensor:
        return (run.apart(x) + run.values[f"{name}.weight"][:, None]).flatten(0, 1)

    return forward
