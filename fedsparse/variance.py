"""The variance of a model's tensors, and how to give it back to a mean of models, which has lost it.

The mean of m models whose entries are uncorrelated has 1/m of their variance in each tensor; a network of many layers
passes on almost nothing then. Rescaling each tensor about its own mean restores it: Tian, Al-Ars, Kitsak, Hofstee,
"Vanishing Variance Problem in Fully Decentralized Neural-Network Systems", 2024, arXiv:2404.04616.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from fedsparse.protocol import Field, Layout

__all__ = ["Scope", "corrected", "corrected_mean", "variances"]

Scope = Literal["weights", "all"]
"""The tensors that are corrected: those of two and more dimensions, or every one with several entries."""

_LEAST = 1e-12
"""A variance below this is none: the tensor is constant, and stays as it is."""


def scoped(layout: Layout, scope: Scope) -> list[Field]:
    """The tensors that a scope has."""
    return [f for f in layout if (len(f.shape) >= 2 if scope == "weights" else f.size > 1)]


def variances(x: Tensor, layout: Layout, scope: Scope = "weights", active: Tensor | None = None) -> Tensor:
    """Population variance of each tensor in scope, ``[M, L]``.

    Args:
        x: models ``[M, d]``.
        layout: the tensors in them.
        scope: which of these.
        active: entries that count, ``[M, d]`` bool; all by default. A tensor without any has variance 0.
    """
    columns = [_moments(x, f, active)[1] for f in scoped(layout, scope)]
    return torch.stack(columns, dim=1) if columns else x.new_zeros(len(x), 0)


def corrected(
    y: Tensor,
    target: Tensor,
    layout: Layout,
    scope: Scope = "weights",
    active: Tensor | None = None,
    strength: float = 1.0,
) -> Tensor:
    """Models whose tensors have another variance and the same mean, ``[C, d]``.

    ``y <- mean(y) + s (y - mean(y))`` with ``s = 1 + strength (sqrt(target / Var(y)) - 1)``, tensor by tensor.

    Args:
        y: models ``[C, d]``.
        target: the variance that each tensor in scope shall have, ``[C, L]``.
        layout: the tensors in a model.
        scope: which of these are corrected.
        active: entries that are, ``[C, d]`` bool; all by default. The others stay as they are.
        strength: 1 for the whole correction, 0 for none.
    """
    out = y.clone()
    for k, f in enumerate(scoped(layout, scope)):
        mean, variance = _moments(y, f, active)
        wanted = target[:, k]
        usable = (variance >= _LEAST) & (wanted >= _LEAST)
        ratio = torch.where(usable, wanted / torch.where(usable, variance, 1), 1)
        factor = torch.where(usable, 1 + strength * (ratio.sqrt() - 1), 1)
        part = y[:, f.slice]
        scaled = mean[:, None] + factor[:, None] * (part - mean[:, None])
        wanted_rows = usable[:, None] if active is None else usable[:, None] & active[:, f.slice]
        out[:, f.slice] = torch.where(wanted_rows, scaled, part)
    return out


def corrected_mean(
    mean: Callable[[Callable[[Tensor], Tensor] | None], Tensor], layout: Layout, scope: Scope = "weights"
) -> Tensor:
    """A weighted mean of models whose tensors have the mean variance, with the same weights, of theirs; ``[C, d]``.

    Args:
        mean: the weighted mean of models ``[M, d]``, or of what a function gives of each: ``[C, d]`` or ``[C, k]``.
            A sum over neighbours is one, as ``lambda of: inbox.mix("x", of)``.
        layout: the tensors in a model.
        scope: which of these are corrected.
    """
    return corrected(mean(None), mean(lambda x: variances(x, layout, scope)), layout, scope)


def _moments(x: Tensor, f: Field, active: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and population variance of one tensor, ``[M]`` each."""
    part = x[:, f.slice]
    if active is None:
        mean = part.sum(1) / f.size
        return mean, (part - mean[:, None]).square().sum(1) / f.size
    counts = active[:, f.slice].sum(1).clamp(min=1)
    kept = torch.where(active[:, f.slice], part, 0)
    mean = kept.sum(1) / counts
    apart = torch.where(active[:, f.slice], part - mean[:, None], 0)
    return mean, apart.square().sum(1) / counts
