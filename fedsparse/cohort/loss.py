"""The clients' losses: cross-entropy for classes, squared error for real targets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["loss_of", "losses_of"]


def loss_of(outputs: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Cross-entropy, one for each example or for each position, or squared error; of one model."""
    if targets.is_floating_point():
        return functional.mse_loss(outputs.reshape(targets.shape), targets, reduction=reduction)
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction=reduction)


def losses_of(outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """Mean loss of each client over its real rows, ``[C]``; differentiable.

    Args:
        outputs: ``[C, B, ..., classes]``, or as ``targets`` for real ones.
        targets: ``[C, B, ...]``.
        counts: real rows ``[C]``; the others count for nothing. A client without any has loss zero.
    """
    counts = counts.to(targets.device)
    real = torch.arange(targets.shape[1], device=targets.device) < counts[:, None]
    share = real / (counts.clamp(min=1) * targets[0, 0].numel())[:, None]
    share = share.to(outputs.dtype)
    if targets.is_floating_point():
        squared = (outputs.reshape(targets.shape) - targets).square()
        return (squared.flatten(2) if squared.dim() > 2 else squared[:, :, None]).sum(2).mul(share).sum(1)
    classes = outputs.shape[-1]
    logits, labels = outputs.reshape(len(targets), -1, classes), targets.flatten(1)
    positions = labels.shape[1] // share.shape[1]
    weights = share if positions == 1 else share.repeat_interleave(positions, dim=1)
    found: Tensor = _CrossEntropy.apply(logits, labels, weights)  # type: ignore[no-untyped-call]
    return found


class _CrossEntropy(torch.autograd.Function):
    """Weighted sums of cross-entropies: logits ``[C, R, classes]``, labels and weights ``[C, R]`` to ``[C]``."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        logs = functional.log_softmax(logits, dim=-1)
        ctx.save_for_backward(logs, labels, weights)
        return -(logs.gather(-1, labels[..., None]).squeeze(-1) * weights).sum(1)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:
        logs, labels, weights = ctx.saved_tensors
        gradient = logs.exp()
        gradient.scatter_add_(
            -1, labels[..., None], gradient.new_full((1, 1, 1), -1.0).expand(*labels.shape, 1)
        )
        return gradient.mul_((weights * d[:, None])[..., None]), None, None
