"""LSTM layers: oneDNN's, which goes through time by itself, one client after the other; else step by step for all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fedsparse.cohort.layers.base import Layer, Pass
from fedsparse.cohort.layers.cells import LSTM
from fedsparse.cohort.layers.recurrent import possible, unrolled

__all__ = ["TYPES", "batched"]

TYPES = (nn.LSTM,)

_NATIVE = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def batched(layer: nn.LSTM, name: str) -> Layer | None:
    """``[C * B, T, n]`` to the outputs ``[C * B, T, h]`` and the last states, as the module gives them.

    First states are zero.
    """
    if not possible(layer):
        return None
    names = [f"{name}.{part}" for part, _ in layer.named_parameters()]
    by_steps = unrolled(layer, name, LSTM())

    def one(x: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        zero = x.new_zeros(layer.num_layers * (1 + layer.bidirectional), len(x), layer.hidden_size)
        return torch.lstm(
            x, [zero, zero], weights, layer.bias, layer.num_layers, 0.0, True, layer.bidirectional, True
        )

    def forward(run: Pass, x: Tensor) -> Any:
        if x.is_cuda or x.dtype != torch.float32 or not _NATIVE:
            return by_steps(run, x)
        weights = zip(*(run.own(part) for part in names), strict=True)
        found = [one(own, list(w)) for own, w in zip(run.apart(x).unbind(), weights, strict=True)]
        out, hidden, memory = zip(*found, strict=True)
        return torch.cat(out), (torch.cat(hidden, dim=1), torch.cat(memory, dim=1))

    return forward
