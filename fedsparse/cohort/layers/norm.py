"""Layers that normalise every example by itself: group, layer and instance normalisation.

On a processor clients go one after the other, which keeps a client's examples at hand; elsewhere all at once.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from fedsparse.cohort.layers.base import Layer, Pass, clients_alone

__all__ = ["TYPES", "batched"]

TYPES = (nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.LayerNorm)


_Norm = nn.GroupNorm | nn.LayerNorm | nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d


def batched(layer: _Norm, name: str) -> Layer | None:
    """``[C * B, ...]`` to the same shape; an InstanceNorm that keeps no statistics."""
    if getattr(layer, "track_running_stats", False):
        return None

    def forward(run: Pass, x: Tensor) -> Tensor:
        if x.is_cuda:
            return together(layer, run, x, *(run.values.get(f"{name}.{kind}") for kind in ("weight", "bias")))
        weights, biases = run.own(f"{name}.weight"), run.own(f"{name}.bias")
        return clients_alone(run, lambda i, own: _normalised(layer, own, weights[i], biases[i]), x)

    return forward


def together(layer: _Norm, run: Pass, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """All clients at once; weight and bias are ``[C, ...]``."""
    out = run.apart(_normalised(layer, x, None, None))
    if weight is not None:
        out = out * _beside(layer, weight, out.dim())
    if bias is not None:
        out = out + _beside(layer, bias, out.dim())
    return out.flatten(0, 1)


def _normalised(layer: _Norm, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if isinstance(layer, nn.LayerNorm):
        return functional.layer_norm(x, layer.normalized_shape, weight, bias, layer.eps)
    if isinstance(layer, nn.GroupNorm):
        return functional.group_norm(x, layer.num_groups, weight, bias, layer.eps)
    return functional.instance_norm(x, weight=weight, bias=bias, eps=layer.eps)


def _beside(layer: _Norm, value: Tensor, dims: int) -> Tensor:
    """A parameter ``[C, ...]`` in the shape that goes with inputs ``[C, B, ...]`` of so many dimensions."""
    if isinstance(layer, nn.LayerNorm):
        return value.view(len(value), *[1] * (dims - value.dim()), *value.shape[1:])
    return value.view(len(value), 1, -1, *[1] * (dims - 3))
