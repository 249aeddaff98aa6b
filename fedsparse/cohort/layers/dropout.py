"""Dropout from keyed generators, so that no global random state is touched."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedsparse.cohort.layers.base import Layer, Pass, clients_alone

__all__ = ["TYPES", "KeyedDropout", "batched"]


class KeyedDropout(nn.Module):
    """Dropout that draws from a generator of its own.

    Attributes:
        p: probability that an entry becomes zero.
        channels: whole channels are dropped, not single entries.
        generator: what it draws from when training.
    """

    generator: torch.Generator | None

    def __init__(self, p: float, channels: bool) -> None:
        super().__init__()
        self.p, self.channels, self.generator = p, channels, None

    def forward(self, x: Tensor) -> Tensor:
        """Zeroes some entries and scales the others by 1 / (1 - p)."""
        if not self.training or self.p == 0:
            return x
        shape = x.shape[:2] + (1,) * (x.dim() - 2) if self.channels else x.shape
        keep = torch.empty(shape, dtype=x.dtype).bernoulli_(1 - self.p, generator=self.generator)
        return x * keep.to(x.device) / (1 - self.p)


TYPES = (KeyedDropout,)


def batched(layer: KeyedDropout, name: str) -> Layer:
    """Every client's mask from its own generator."""
    del name

    def forward(run: Pass, x: Tensor) -> Tensor:
        if not run.train or layer.p == 0:
            return x

        def one(client: int, own: Tensor) -> Tensor:
            layer.generator = run.generators[client]
            layer.train()
            return layer(own)  # type: ignore[no-any-return]

        return clients_alone(run, one, x)

    return forward
