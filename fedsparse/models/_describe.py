"""A model as a table."""

from __future__ import annotations

from torch import nn

__all__ = ["describe"]


def describe(module: nn.Module) -> list[tuple[str, tuple[int, ...], int]]:
    """Rows of (name, shape, numbers) for each parameter in order, and a last row ``total`` of shape ()."""
    rows = [(name, tuple(p.shape), p.numel()) for name, p in module.named_parameters()]
    return [*rows, ("total", (), sum(row[2] for row in rows))]
