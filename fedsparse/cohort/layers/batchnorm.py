"""BatchNorm: every client normalises by its own real examples, and advances its own statistics.

On a processor clients go one after the other, which keeps a client's examples at hand; elsewhere all at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedsparse.cohort.device import on
from fedsparse.cohort.layers.base import Layer, Pass, clients_alone
from fedsparse.errors import ConfigError

__all__ = ["TYPES", "batched"]

TYPES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

_BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def batched(layer: _BatchNorm, name: str) -> Layer | None:
    """``[C * B, channels, ...]`` to the same shape; momentum is a number, which is read in every pass."""
    if layer.momentum is None:
        return None
    kinds = ("weight", "bias", "running_mean", "running_var")

    def forward(run: Pass, x: Tensor) -> Tensor:
        training = run.train or f"{name}.running_mean" not in run.values
        if training and 1 in [n * x[0, 0].numel() for n in run.counts]:
            raise ConfigError(
                f"model: layer '{name}' ({type(layer).__name__}) got a minibatch of one example, which has no "
                "variance; choose a batch size that leaves no rest of one, or a model with GroupNorm"
            )
        if x.is_cuda:
            return together(layer, run, x, *(run.values.get(f"{name}.{kind}") for kind in kinds))
        own = list(zip(*(run.own(f"{name}.{kind}") for kind in kinds), strict=True))

        def one(i: int, rows: Tensor) -> Tensor:
            if not run.counts[i]:  # its statistics stay as they are
                return torch.zeros_like(rows)
            weight, bias, mean, variance = own[i]
            momentum = layer.momentum or 0.0
            return functional.batch_norm(rows, mean, variance, weight, bias, training, momentum, layer.eps)

        return clients_alone(run, one, x)

    return forward


def together(
    layer: _BatchNorm,
    run: Pass,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
) -> Tensor:
    """All clients at once.

    Args:
        layer: its momentum and ε are used.
        run: the pass.
        x: ``[C * B, channels, ...]``.
        weight: ``[C, channels]``.
        bias: likewise.
        mean: the statistics, likewise, advanced in place when training; without them, as in training, the examples'
            own are used.
        variance: likewise.
    """
    x = run.apart(x)
    dims, shape = [1, *range(3, x.dim())], (len(x), 1, x.shape[2], *[1] * (x.dim() - 3))
    if run.train or mean is None or variance is None:
        counts = on(x.device, torch.tensor(run.counts))
        real = torch.arange(x.shape[1], device=x.device) < counts[:, None]
        real = real.view(*real.shape, *[1] * (x.dim() - 2))
        entries = (counts * x[0, 0, 0].numel()).to(x.dtype).clamp(min=1)[:, None]
        centre = (x * real).sum(dims) / entries
        x = x - centre.view(shape)
        spread = (x.square() * real).sum(dims) / entries
        if mean is not None and variance is not None:
            with torch.no_grad():
                moved = ((layer.momentum or 0.0) * (counts > 0))[:, None]
                mean += moved * (centre - mean)
                variance += moved * (spread * (entries / (entries - 1).clamp(min=1)) - variance)
    else:
        x, spread = x - mean.view(shape), variance
    out = x * (spread + layer.eps).rsqrt().view(shape)
    out = out if weight is None else out * weight.view(shape)
    return (out if bias is None else out + bias.view(shape)).flatten(0, 1)
