"""Weights and biases of a linear layer, of all clients at once, and sums of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.cohort import products
from fedsparse.cohort.device import on

__all__ = ["Term", "Weights", "accumulate", "nothing", "own", "rows_of", "summed", "take_off"]


@dataclass(frozen=True)
class Weights:
    """Weights ``[C, m, n]`` and biases ``[C, m]``, or with one row for all clients; or what is added to them."""

    weight: Tensor
    bias: Tensor | None

    @property
    def alike(self) -> bool:
        """Whether there is one row for all clients."""
        return self.weight.shape[0] == 1

    def empty(self, clients: int) -> Weights:
        """Room for those of so many clients."""
        bias = None if self.bias is None else self.bias.new_empty(clients, *self.bias.shape[1:])
        return Weights(self.weight.new_empty(clients, *self.weight.shape[1:]), bias)

    def zeros(self, clients: int) -> Weights:
        """Zeros for so many clients."""
        made = self.empty(clients)
        nothing(made.weight, made.bias)
        return made


Term = tuple[float, Weights]
"""A factor, and what it multiplies."""


def own(h: Tensor, w: Weights, biased: bool) -> Tensor:
    """``h [C, B, n]`` times each client's own weights; the same bits where one row stands for equal ones."""
    bias = w.bias.expand(len(h), -1) if biased and w.bias is not None else None
    if products.by_row(h) and products.large(h.shape[1], *w.weight.shape[:0:-1]):
        return products.apply(h, w.weight, bias)
    return products.each(h, w.weight.mT.expand(len(h), -1, -1), bias)


def summed(terms: Sequence[Term]) -> Weights:
    """The sum; entry by entry the same whether a term has one row or equal ones for all clients."""
    factor, first = terms[0]
    weight, bias = first.weight, first.bias
    if factor != 1:
        weight, bias = weight * factor, None if bias is None else bias * factor
    for factor, w in terms[1:]:
        if factor:
            weight = torch.add(weight, rows_of(w.weight, weight), alpha=factor)
            if bias is not None:
                bias = None if w.bias is None else torch.add(bias, rows_of(w.bias, bias), alpha=factor)
    return Weights(weight, bias)


def rows_of(value: Tensor, like: Tensor) -> Tensor:
    """A row for each client, where there is one number for all: it would be rounded before it is added."""
    return value.expand(like.shape).contiguous() if value.numel() == 1 else value


def accumulate(weight: Tensor, bias: Tensor | None, factor: float | Tensor, w: Weights) -> None:
    """Adds factor times ``w``; the factor is a number, or one for each client ``[C]``."""
    if isinstance(factor, Tensor):
        factor = on(weight.device, factor.to(weight.dtype))
        weight.addcmul_(w.weight, factor[:, None, None])
        if bias is not None and w.bias is not None:
            bias.addcmul_(w.bias, factor[:, None])
    elif factor:
        weight.add_(rows_of(w.weight, weight), alpha=factor)
        if bias is not None and w.bias is not None:
            bias.add_(rows_of(w.bias, bias), alpha=factor)


def nothing(weight: Tensor | None, bias: Tensor | None) -> None:
    """Writes zeros."""
    for value in (weight, bias):
        if value is not None:
            value.zero_()


def take_off(weight: Tensor | None, bias: Tensor | None, less: Weights | None) -> None:
    """Subtracts ``less``."""
    if less is None:
        return
    if weight is not None:
        weight.sub_(less.weight)
    if bias is not None and less.bias is not None:
        bias.sub_(less.bias)
