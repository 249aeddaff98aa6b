"""What trainers share whose layers keep given numbers of weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedsparse.cohort.trainer import Gradient, Masked, Moment
from fedsparse.masks import (
    RATIO_NAMES,
    check_ratio,
    everywhere,
    layer_counts,
    layers_of,
    seeded_mask,
    smallest,
    top_among,
)
from fedsparse.options import option
from fedsparse.protocol import Field, Layout

__all__ = ["Counted", "Layered", "Moving", "sides"]


def sides(layer: Field) -> tuple[int, ...]:
    """The shape [outputs, inputs, ...] of a layer's weights; a bare vector is one output."""
    return layer.shape if len(layer.shape) > 1 else (1, *layer.shape)


@dataclass(frozen=True)
class Counted(Masked):
    """Layers that keep given numbers of weights."""

    density: float = option(
        0.1, "share ρ of the weights of the pruned layers that is kept", above=0, at_most=1
    )
    ratio: str = option("erk", "densities of layers relative to each other", choices=RATIO_NAMES)

    @abstractmethod
    def layers(self, layout: Layout) -> tuple[Field, ...]:
        """The layers that are pruned."""

    def counts(self, layout: Layout) -> list[int]:
        """Weights that each of them keeps."""
        return layer_counts(self.layers(layout), self.density, self.ratio)

    def random(self, moment: Moment) -> Tensor:
        """The run's random mask, ``[d]`` bool: the same in every round."""
        layout, first = moment.layout, replace(moment, round=0)
        seed = int(first.shared("mask").integers(2**53))
        return seeded_mask(seed, layout, self.layers(layout), self.counts(layout))

    def largest(self, x: Tensor, layout: Layout, counts: Sequence[int]) -> Tensor:
        """The masks ``[C, d]`` of the ``counts`` largest weights of each layer, and of all that is not pruned."""
        layers = self.layers(layout)
        return top_among(x, x != 0, layers, _alike(counts, x)) | everywhere(layout, layers)


@dataclass(frozen=True)
class Layered(Counted):
    """Those of linear layers and convolutions."""

    ends: bool = option(False, "whether the first and the last layer are pruned, too")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ratio(self.ratio, self.ends, "trainer.")

    def layers(self, layout: Layout) -> tuple[Field, ...]:
        """Linear layers and convolutions."""
        return layers_of(layout, self.ends)


@dataclass(frozen=True)
class Moving(Counted):
    """A random sparse model whose weights move: in some rounds the smallest make room for others.

    The model has the ``counts`` largest weights of each layer of what the strategy gives; they are those that are not
    zero, unless clients have moved to different ones, of whose mean the largest then stay.
    """

    every: int = option(10, "rounds between two moves", at_least=1)
    stop: float = option(0.75, "share of the rounds after which nothing moves", at_least=0, at_most=1)

    @abstractmethod
    def share(self, moment: Moment) -> float:
        """The share of each layer's weights that moves."""

    @abstractmethod
    def next_mask(
        self, x: Tensor, mask: Tensor, counts: list[int], moment: Moment, gradient: Gradient
    ) -> Tensor:
        """The masks ``[C, d]`` after a move of ``counts`` weights of each layer at most, from ``mask``."""

    def start(self, moment: Moment) -> Tensor:
        """The initial parameters on the random mask."""
        return torch.where(self.random(moment), moment.start, 0)

    def model(self, x: Tensor, layout: Layout) -> Tensor:
        """The largest weights."""
        return torch.where(self.largest(x, layout, self.counts(layout)), x, 0)

    def last(self, moment: Moment) -> int:
        """The round from which on nothing moves."""
        return int(self.stop * moment.rounds)

    def mask(self, x: Tensor, moment: Moment, gradient: Gradient) -> Tensor:
        """The largest weights, after the move where it is time."""
        layout, layers, kept = moment.layout, self.layers(moment.layout), self.counts(moment.layout)
        if moment.round == 0:
            return self.random(moment)[None]
        mask = self.largest(x, layout, kept)
        if moment.round % self.every or moment.round >= self.last(moment):
            return mask
        share = self.share(moment)
        counts = [min(int(share * k), layer.size - k) for k, layer in zip(kept, layers, strict=True)]
        return self.next_mask(x, mask, counts, moment, gradient)

    def lightest(self, x: Tensor, mask: Tensor, counts: list[int], moment: Moment) -> Tensor:
        """The ``counts`` weights of least magnitude of each layer, ``[C, d]`` bool."""
        return smallest(x, mask, self.layers(moment.layout), _alike(counts, x))


def _alike(counts: Sequence[int], x: Tensor) -> list[Tensor]:
    """The same numbers for all rows of ``x``."""
    return [torch.full((len(x),), count) for count in counts]
