"""One linear layer: softmax regression, logistic regression, least squares."""

from __future__ import annotations

from math import prod

from torch import nn

__all__ = ["build"]


def build(example_shape: tuple[int, ...], classes: int, *, bias: bool = True) -> nn.Module:
    """A linear map of the flattened input.

    Args:
        example_shape: any.
        classes: outputs.
        bias: whether there is a constant term.
    """
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(example_shape), classes, bias=bias))
