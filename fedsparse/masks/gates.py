"""Gating layers: small networks that say from a minibatch how much of each block a model is to keep.

Switchable normalisation of the inputs, one linear layer, BatchNorm, sigmoid, and the mean over the minibatch. Each
client has its own, and goes through it alone, so that its bits are its own, too.

Source: D. Chen, L. Yao, D. Gao, B. Ding, Y. Li, "Efficient Personalized Federated Learning via Sparse
Model-Adaptation", ICML 2023; P. Luo, J. Ren, Z. Peng, R. Zhang, J. Li, "Differentiable Learning-to-Normalize via
Switchable Normalization", ICLR 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fedsparse.lazy import cached_property
from fedsparse.protocol import Layout

__all__ = ["Gate"]

_EPSILON = 1e-5
_MOMENTUM = 0.1
"""Share of the newest minibatch in running statistics."""


@dataclass(frozen=True)
class Gate:
    """The form of a gating layer.

    Attributes:
        input_shape: of one input; the first dimension of several is channels.
        outputs: how many values it gives.
    """

    input_shape: tuple[int, ...]
    outputs: int

    @property
    def channels(self) -> int:
        """Channels of an input."""
        return self.input_shape[0] if len(self.input_shape) > 1 else 1

    @property
    def width(self) -> int:
        """Numbers of an input."""
        return prod(self.input_shape)

    @cached_property
    def parameters(self) -> Layout:
        """What is trained."""
        ch, m = self.channels, self.outputs
        switch = {"scale": (ch,), "shift": (ch,), "mean_mix": (3,), "variance_mix": (3,)}
        linear = {"weight": (m, self.width), "bias": (m,)}
        return Layout.of({**switch, **linear, "norm_scale": (m,), "norm_shift": (m,)})

    @cached_property
    def statistics(self) -> Layout:
        """What runs along: means and variances of the inputs' channels and of the logits."""
        ch, m = self.channels, self.outputs
        return Layout.of({"mean": (ch,), "variance": (ch,), "norm_mean": (m,), "norm_variance": (m,)})

    def start(self, draw: Any) -> tuple[Tensor, Tensor]:
        """First parameters ``[1, p]`` and statistics ``[1, s]``; ``draw`` is a NumPy generator.

        The linear layer is uniform within ± 1/sqrt(width), as PyTorch's; norms are the identity.
        """
        x, stats = torch.zeros(1, self.parameters.size), torch.zeros(1, self.statistics.size)
        parts, running = self.parameters.split(x), self.statistics.split(stats)
        for name in ("scale", "mean_mix", "variance_mix", "norm_scale"):
            parts[name].fill_(1)
        bound = max(1, self.width) ** -0.5
        for name in ("weight", "bias"):
            shape = tuple(parts[name].shape)
            parts[name].copy_(torch.from_numpy(draw.uniform(-bound, bound, shape)))
        running["norm_variance"].fill_(1)
        return x, stats

    def __call__(
        self, x: Tensor, statistics: Tensor, inputs: Tensor, counts: Tensor, train: bool
    ) -> tuple[Tensor, Tensor]:
        """Values ``[C, outputs]`` between 0 and 1, differentiable in ``x``, and the new statistics.

        Args:
            x: parameters ``[C, p]``.
            statistics: ``[C, s]``, used in evaluation mode, advanced in training mode.
            inputs: ``[C, B, ...]``.
            counts: real rows ``[C]``; of a client without any the values mean nothing.
            train: training mode.
        """
        found, moved = [], statistics.clone()
        for i, count in enumerate(counts.tolist()):
            here = self.statistics.split(moved[i] if count else moved[i].clone())
            rows = inputs[i, : max(1, count)].to(x.dtype)
            found.append(self._one(self.parameters.split(x[i]), here, rows, train))
        return torch.stack(found), moved

    def _one(self, own: dict[str, Tensor], running: dict[str, Tensor], rows: Tensor, train: bool) -> Tensor:
        pixels = rows.reshape(len(rows), self.channels, self.width // self.channels)
        h = self._switched(own, running, pixels, train).flatten(1)
        z = functional.linear(h, own["weight"], own["bias"])
        mean, variance = running["norm_mean"], running["norm_variance"]
        if train:
            mean, variance = z.mean(0), z.var(0, correction=0)
            _advance(running["norm_mean"], mean)
            _advance(running["norm_variance"], variance * len(z) / max(1, len(z) - 1))
        normed = (z - mean) / (variance + _EPSILON).sqrt()
        return torch.sigmoid(normed * own["norm_scale"] + own["norm_shift"]).mean(0)

    @staticmethod
    def _switched(own: dict[str, Tensor], running: dict[str, Tensor], x: Tensor, train: bool) -> Tensor:
        """``x [B, channels, n]`` less a mixture of means over examples' channels, examples, and channels."""
        n = max(1, x.shape[2])
        mean = x.sum(2, keepdim=True) / n
        variance = (x - mean).square().sum(2, keepdim=True) / max(1, n - 1)
        square = variance + mean.square()
        mean_all = mean.mean(1, keepdim=True)
        variance_all = square.mean(1, keepdim=True) - mean_all.square()
        mean_batch, variance_batch = running["mean"][:, None], running["variance"][:, None]
        if train:
            mean_batch = mean.mean(0)
            variance_batch = square.mean(0) - mean_batch.square()
            _advance(running["mean"], mean_batch[:, 0])
            _advance(running["variance"], variance_batch[:, 0])
        a, b = own["mean_mix"].softmax(0), own["variance_mix"].softmax(0)
        centre = a[0] * mean + a[1] * mean_all + a[2] * mean_batch
        spread = b[0] * variance + b[1] * variance_all + b[2] * variance_batch
        normed = (x - centre) / (spread + _EPSILON).sqrt()
        return normed * own["scale"][:, None] + own["shift"][:, None]


def _advance(running: Tensor, newest: Tensor) -> None:
    with torch.no_grad():
        running.lerp_(newest.detach().to(running.dtype), _MOMENTUM)
