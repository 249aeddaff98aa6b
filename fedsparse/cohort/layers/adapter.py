"""Adapters: one product with the frozen weights for all clients, two small ones and a few entries for each client."""

from __future__ import annotations

from torch import Tensor, nn

from fedsparse.cohort.layers import dropout, linear
from fedsparse.cohort.layers.base import Layer, Pass
from fedsparse.models._adapter import Adapter, with_entries

__all__ = ["TYPES", "batched"]

TYPES = (Adapter,)


def batched(layer: Adapter, name: str) -> Layer | None:
    """``[C * B, ..., n]`` to ``[C * B, ..., m]``; what is adapted must be a linear layer, of PyTorch's or GPT-2's."""
    if type(layer.base) is not nn.Linear and not layer.turned:
        return None
    biased = layer.base.bias is not None
    dropped = (
        dropout.batched(layer.dropout, f"{name}.dropout")
        if isinstance(layer.dropout, dropout.KeyedDropout)
        else None
    )

    def forward(run: Pass, x: Tensor) -> Tensor:
        given = x if dropped is None else dropped(run, x)
        h = x.reshape(run.clients, -1, x.shape[-1])
        low = linear.affine(given.reshape(h.shape), run.values[f"{name}.lora_A"], None)
        own = linear.affine(low, run.values[f"{name}.lora_B"], None)
        own = layer.scale * own
        if layer.places is not None:
            values = run.values[f"{name}.lora_S"][:, None]
            own = with_entries(own, h, values, layer.places)
        weight = run.values[f"{name}.base.weight"]
        bias = run.values[f"{name}.base.bias"] if biased else None
        found = linear.affine(h, weight.mT if layer.turned else weight, bias)
        return (found + own).view(*x.shape[:-1], -1)

    return forward
