"""How masks move in training: weights of least magnitude are pruned, and those of largest gradient grown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.errors import ProtocolError
from fedsparse.masks.select import top_among, top_each
from fedsparse.masks.travel import marked
from fedsparse.message import Sparse
from fedsparse.protocol import Field
from fedsparse.schedule import Cosine

__all__ = ["Move", "largest_inactive", "moved", "prune_and_grow", "share_at", "smallest"]


@dataclass(frozen=True)
class Move:
    """A change of masks; a weight is not in both.

    Attributes:
        grown: what was not there and is, ``[C, d]`` bool.
        pruned: what was there and is not, likewise.
    """

    grown: Tensor
    pruned: Tensor

    @property
    def any(self) -> bool:
        """Whether anything changes."""
        return bool(self.grown.any() or self.pruned.any())


def moved(mask: Tensor, grown: Tensor, pruned: Tensor) -> Tensor:
    """The mask after a move. Doing it twice changes nothing, so a move may be told again."""
    return mask & ~pruned | grown


def share_at(first: float, round: int, stop: int) -> float:  # noqa: A002
    """The share of a layer's weights that moves in ``round``: ``first`` at 0, along half a cosine, 0 from ``stop``."""
    return Cosine(first, 0.0).at(round, stop + 1)


def largest_inactive(
    gradient: Tensor, mask: Tensor, layers: Sequence[Field], counts: Sequence[int]
) -> Sparse:
    """What devices keep of a gradient: the largest entries of each layer where there is no weight.

    Entries that are zero are not sent.

    Args:
        gradient: ``[C, d]``.
        mask: ``[1, d]`` or ``[C, d]``.
        layers: that move.
        counts: how many of each, at most.
    """
    gradient = torch.where(mask, 0, gradient)
    return marked(gradient, top_each(gradient, layers, counts) & (gradient != 0))


def prune_and_grow(
    weights: Tensor, mask: Tensor, gradient: Tensor, layers: Sequence[Field], counts: Sequence[int]
) -> Move:
    """Grows the ``counts`` weights of largest |gradient| of each layer, and prunes as many of least magnitude.

    What is pruned was there before, so it is not what is grown, and nothing that is pruned grows again at once. Weights
    whose gradient is zero do not grow: nothing speaks for them. The number of weights of a layer stays.

    Args:
        weights: ``[C, d]``.
        mask: ``[C, d]``.
        gradient: ``[C, d]``; what it is where there are weights does not matter.
        layers: that move.
        counts: how many of each, at most.

    Raises:
        ProtocolError: a layer has fewer weights than are to be pruned.
    """
    gradient = torch.where(mask, 0, gradient)
    grown = top_each(gradient, layers, counts) & (gradient != 0)
    for layer, count in zip(layers, counts, strict=True):
        if count > int(mask[:, layer.slice].sum(1).min()):
            raise ProtocolError(f"{count} weights of layer '{layer.name}' are to be pruned, and it has fewer")
    return Move(grown, smallest(weights, mask, layers, [grown[:, layer.slice].sum(1) for layer in layers]))


def smallest(weights: Tensor, mask: Tensor, layers: Sequence[Field], counts: Sequence[Tensor]) -> Tensor:
    """The weights of least magnitude among those there are, ``[C, d]`` bool.

    Args:
        weights: ``[C, d]``; of equal magnitudes the lowest index comes first.
        mask: ``[C, d]``: which there are.
        layers: that are looked at.
        counts: how many of each layer, ``[C]`` int64, not more than there are.
    """
    return top_among(_lightness(weights), mask, layers, counts)


def _lightness(weights: Tensor) -> Tensor:
    """Numbers that order as the magnitudes of ``weights``, the other way round, and are equal where these are.

    The bits of magnitudes order as integers do, so infinity's less theirs are the bits of such numbers, exactly.
    """
    width = torch.int32 if weights.element_size() == 4 else torch.int64
    infinity = torch.tensor(torch.inf, dtype=weights.dtype).view(width)
    return (infinity - weights.abs().view(width)).clamp(min=0).view(weights.dtype)
