"""Linear layers: one product a client, or one for all while the clients still have the same weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fedsparse.cohort import products
from fedsparse.cohort.layers.base import Layer, Pass

__all__ = ["TYPES", "affine", "batched"]

TYPES = (nn.Linear,)


class _Affine(torch.autograd.Function):
    """``h w^T + b`` for ``h [C, B, n]``, ``w [C, m, n]``, ``b [C, m]``."""

    @staticmethod
    def forward(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return products.apply(h, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004 - a method of PyTorch's
        h, weight, bias = inputs
        ctx.save_for_backward(h, weight)
        ctx.biased = bias is not None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> Any:
        h, weight = ctx.saved_tensors
        dh = products.apply(d, weight.mT) if ctx.needs_input_grad[0] else None
        dw = products.each(d.mT, h) if ctx.needs_input_grad[1] else None
        return dh, dw, d.sum(1) if ctx.biased else None


def affine(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Differentiable ``h w^T + b``.

    Args:
        h: ``[C, B, n]``.
        weight: ``[C, m, n]``; where all clients have the same, best expanded from one row.
        bias: ``[C, m]``, expanded likewise.
    """
    found: Tensor = _Affine.apply(h, weight, bias)  # type: ignore[no-untyped-call]
    return found


def batched(layer: nn.Linear, name: str) -> Layer:
    """``[C * B, ..., n]`` to ``[C * B, ..., m]``."""
    biased = layer.bias is not None

    def forward(run: Pass, x: Tensor) -> Tensor:
        h = x.reshape(run.clients, -1, x.shape[-1])
        if name in run.dense:
            out = run.dense[name](h)
        else:
            out = affine(h, run.values[f"{name}.weight"], run.values[f"{name}.bias"] if biased else None)
        return out.reshape(*x.shape[:-1], -1)

    return forward
