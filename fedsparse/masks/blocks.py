"""Parameters in blocks that are kept or left out as wholes, and which of them a budget allows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.protocol import Field, Layout

__all__ = ["Blocks", "allowed", "blocks_of", "most"]

STEPS = 10
"""Importances are compared as whole tenths, so that ties are common; the earlier block wins them."""


@dataclass(frozen=True)
class Blocks:
    """Contiguous parts of the tensors.

    Attributes:
        of: the block of each parameter, ``[d]`` int64; M where it is in none.
        sizes: parameters of each block, ``[M]`` int64.
        first: whether it is the first of its tensor, ``[M]`` bool.
        linear: whether it is of a linear layer, ``[M]`` bool.
    """

    of: Tensor
    sizes: Tensor
    first: Tensor
    linear: Tensor

    @property
    def count(self) -> int:
        """M."""
        return len(self.sizes)

    def spread(self, values: Tensor) -> Tensor:
        """Each block's value at each of its parameters, ``[C, M]`` to ``[C, d]``; ones where there is no block."""
        return torch.cat([values, values.new_ones(len(values), 1)], 1).index_select(1, self.of)

    def sums(self, values: Tensor) -> Tensor:
        """The sum over each block, ``[C, d]`` to ``[C, M]``."""
        found = values.new_zeros(len(values), self.count + 1)
        return found.index_add_(1, self.of, values)[:, :-1]

    def groups(self) -> tuple[Tensor, Tensor]:
        """The blocks that are not the first of their tensor, ``[n]`` int64: of linear layers, and the rest."""
        linear, rest = ((group & ~self.first).nonzero()[:, 0] for group in (self.linear, ~self.linear))
        return linear, rest

    def share(self, kept: Tensor) -> Tensor:
        """The share of all parameters that these blocks ``[C, M]`` bool, and what is in none, make up; ``[C]``."""
        outside = len(self.of) - int(self.sizes.sum())
        return ((kept * self.sizes).sum(1).double() + outside) / len(self.of)


def blocks_of(layout: Layout, parts: int) -> Blocks:
    """Every tensor, row by row, in at most ``parts`` blocks of equal size, but for the last, which may be smaller.

    Norms stay in one piece and out of the blocks: a network whose scales are zero passes nothing on.
    """
    of = torch.empty(layout.size, dtype=torch.int64)
    sizes: list[int] = []
    first: list[bool] = []
    linear: list[bool] = []
    outside: list[Field] = []
    for field in layout:
        weights = _weights(layout, field)
        if not weights.prunable:
            outside.append(field)
            continue
        each = -(-field.size // min(parts, field.size))
        own = [min(each, field.size - start) for start in range(0, field.size, each)]
        of[field.slice] = len(sizes) + torch.arange(field.size) // each
        sizes += own
        first += [start == 0 for start in range(len(own))]
        linear += [len(weights.shape) == 2] * len(own)
    for field in outside:
        of[field.slice] = len(sizes)
    return Blocks(of, torch.tensor(sizes), torch.tensor(first), torch.tensor(linear))


def _weights(layout: Layout, field: Field) -> Field:
    """The weights of the layer that a tensor belongs to; the tensor itself where there are none."""
    prefix = field.name.rpartition(".")[0]
    name = f"{prefix}.weight" if prefix else "weight"
    return layout[name] if name in {f.name for f in layout} else field


def allowed(importance: Tensor, blocks: Blocks, budget: Tensor, least: Tensor) -> Tensor:
    """Which blocks each client keeps, ``[C, M]`` bool: two knapsacks, one of the linear layers, one of the rest.

    The first block of every tensor is kept in any case and lies outside of the knapsacks. A knapsack holds
    ``round((budget - least) * parameters of the other blocks)``. The blocks are tried from the most important on,
    whatever their size; one that no longer fits is left out. A budget of 1 keeps everything.

    Args:
        importance: ``[C, M]``, from 0 to 1.
        blocks: of the model.
        budget: s, ``[C]``.
        least: s_min, ``[C]``, at most s.
    """
    kept = blocks.first.expand(importance.shape).clone()
    for at in blocks.groups():
        sizes = blocks.sizes[at]
        left = _room(sizes, budget, least)
        order = (importance[:, at] * STEPS).round().sort(dim=1, descending=True, stable=True).indices
        for place in range(len(at)):
            item = order[:, place]
            fits = sizes[item] <= left
            left = left - sizes[item] * fits
            kept[torch.arange(len(kept)), at[item]] = fits
    return kept | (budget >= 1)[:, None]


def most(blocks: Blocks, budget: Tensor, least: Tensor) -> Tensor:
    """The share of all parameters that :func:`allowed` keeps at most, ``[C]`` float64: full knapsacks and the rest.

    Args:
        blocks: of the model.
        budget: s, ``[C]``.
        least: s_min, ``[C]``, at most s.
    """
    always = blocks.share(blocks.first[None])
    chosen = sum((_room(blocks.sizes[at], budget, least) for at in blocks.groups()), torch.zeros(len(budget)))
    return torch.where(budget >= 1, 1.0, always + chosen.double() / len(blocks.of))


def _room(sizes: Tensor, budget: Tensor, least: Tensor) -> Tensor:
    """What a knapsack of blocks of these sizes holds, ``[C]`` int64."""
    return ((budget - least).double() * int(sizes.sum())).round().long()
