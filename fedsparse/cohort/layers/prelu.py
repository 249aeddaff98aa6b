"""PReLU: every client has its own slopes for what is negative."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from fedsparse.cohort.layers.base import Layer, Pass, clients_alone

__all__ = ["TYPES", "batched"]

TYPES = (nn.PReLU,)


def batched(layer: nn.Module, name: str) -> Layer:
    """``[C * B, channels, ...]`` to the same shape."""
    del layer

    def forward(run: Pass, x: Tensor) -> Tensor:
        slopes = run.own(f"{name}.weight")
        return clients_alone(run, lambda i, own: functional.prelu(own, slopes[i]), x)

    return forward
