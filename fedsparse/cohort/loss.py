"""The clients' losses: cross-entropy for classes, squared error for real targets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fedsparse.cohort.device import on

__all__ = ["hits_of", "loss_of", "losses_of", "shares", "slopes_of"]


def loss_of(outputs: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Cross-entropy, one for each example or for each position, or squared error; of one model."""
    if targets.is_floating_point():
        return functional.mse_loss(outputs.reshape(targets.shape), targets, reduction=reduction)
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction=reduction)


def shares(targets: Tensor, counts: Tensor, dtype: torch.dtype) -> Tensor:
    """What each target counts in the mean loss of its client: zero in rows of padding.

    Args:
        targets: ``[C, ..., B, ...]``.
        counts: real rows ``[C, ...]``: the leading dimensions of ``targets`` up to B.
        dtype: of the result.

    Returns:
        ``[C, ..., B]`` for one target a row, ``[C, ..., B, positions]`` for several.
    """
    lead, counts = counts.dim(), on(targets.device, counts)
    rows, positions = targets.shape[lead], targets.shape[lead + 1 :].numel()
    real = torch.arange(rows, device=targets.device) < counts[..., None]
    share = (real / (counts.clamp(min=1) * positions)[..., None]).to(dtype)
    missing = targets.dim() - share.dim()
    return share.view(*share.shape, *[1] * missing).expand(targets.shape) if missing else share


def losses_of(outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """Mean loss of each client over its real rows, ``[C]``; differentiable.

    Args:
        outputs: ``[C, B, ..., classes]``, or as ``targets`` for real ones.
        targets: ``[C, B, ...]``.
        counts: real rows ``[C]``; the others count for nothing. A client without any has loss zero.
    """
    share = shares(targets, counts, outputs.dtype)
    if targets.is_floating_point():
        squared = (outputs.reshape(targets.shape) - targets).square()
        return (squared * share).flatten(1).sum(1)
    found: Tensor = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
        outputs.reshape(len(targets), -1, outputs.shape[-1]), targets.flatten(1), share.flatten(1)
    )
    return found


def hits_of(outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """Share of each client's targets in its real rows that have the largest output, ``[C]``; NaN for real targets."""
    if targets.is_floating_point():
        return outputs.new_full((len(targets),), float("nan"))
    share = shares(targets, counts, outputs.dtype)
    return ((outputs.argmax(-1) == targets) * share).flatten(1).sum(1)


def slopes_of(outputs: Tensor, targets: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """The same losses ``[C]``, and their gradients in ``outputs``; ``share`` is that of :func:`shares`."""
    if targets.is_floating_point():
        apart = outputs.reshape(targets.shape) - targets
        slopes = (apart * share).mul_(2).view(outputs.shape)
        return (apart.square() * share).flatten(1).sum(1), slopes
    labels = targets[..., None]
    logs = functional.log_softmax(outputs, dim=-1)
    losses = _taken(logs, labels, share)
    return losses.flatten(1).sum(1), _slopes(logs, labels, share)


def _taken(logs: Tensor, labels: Tensor, share: Tensor) -> Tensor:
    """Cross-entropies of the labels, each times its share."""
    return logs.gather(-1, labels).squeeze(-1).mul_(share).neg_()


def _slopes(logs: Tensor, labels: Tensor, share: Tensor) -> Tensor:
    """Gradients of :func:`_taken` in the logits."""
    found = logs.exp()
    if found.is_cuda:  # where the deterministic scattering sorts first
        classes = torch.arange(found.shape[-1], device=found.device)
        found.add_((classes == labels).to(found.dtype), alpha=-1.0)
        return found.mul_(share[..., None])
    found.scatter_add_(-1, labels, found.new_full((1,), -1.0).expand(labels.shape))
    return found.mul_(share[..., None])


class _CrossEntropy(torch.autograd.Function):
    """Weighted sums of cross-entropies: logits ``[C, R, classes]``, labels and weights ``[C, R]`` to ``[C]``."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        logs, labels = functional.log_softmax(logits, dim=-1), labels[..., None]
        ctx.save_for_backward(logs, labels, weights)
        return _taken(logs, labels, weights).sum(1)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:
        logs, labels, weights = ctx.saved_tensors
        return _slopes(logs, labels, weights * d[:, None]), None, None
