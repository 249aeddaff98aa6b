"""Dynamic sparse learning: embedding tables whose weights move to where gradients are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.cohort.trainer import Gradient, Moment
from fedsparse.errors import ConfigError
from fedsparse.masks import moved, prune_and_grow, share_at
from fedsparse.options import option
from fedsparse.protocol import Field, Layout
from fedsparse.trainers._layers import Moving


@dataclass(frozen=True)
class DSL(Moving):
    """Dynamic sparse learning of embedding tables (Wang et al., WSDM 2024, arXiv 2402.02855).

    Tables start on a random mask of ``density``; everything else is dense. In round t, every ``every`` rounds before
    T_end, which is ``stop`` of all, in each table with n weights and with the gradient g of the first minibatch::

        k = floor(n α/2 (1 + cos(π t / T_end)))
        grow the at most k of largest |g| where there is no weight and g is not zero;  prune as many of least magnitude

    with α = ``alpha``. Only rows that a client has looked up have a gradient, so a table grows in these rows alone,
    from zero, and what is pruned may be anywhere. The number of weights of a table stays. A move costs one more
    gradient.
    Mask: local where it moves, as that of ``rigl``; then global. Nothing is sent for it.
    Departs from the paper in that clients, and not all data together, say what grows, in moving by rounds, and in
    pruning by magnitude alone, without its measure of how weights have changed.
    """

    alpha: float = option(0.3, "share α of a table's weights that moves at first", at_least=0, below=1)

    def layers(self, layout: Layout) -> tuple[Field, ...]:
        """The tables."""
        found = tuple(field for field in layout if field.table)
        if not found:
            raise ConfigError(
                "trainer=dsl: the model has no embedding table; use model=charmodel, or trainer=rigl"
            )
        return found

    def share(self, moment: Moment) -> float:
        """Along half a cosine."""
        return share_at(self.alpha, moment.round, self.last(moment))

    def next_mask(
        self, x: Tensor, mask: Tensor, counts: list[int], moment: Moment, gradient: Gradient
    ) -> Tensor:
        """Growing first: what is pruned makes room for just as much."""
        dense = gradient(torch.where(mask, x, 0))
        mask = mask.expand_as(dense)
        move = prune_and_grow(x.expand_as(dense), mask, dense, self.layers(moment.layout), counts)
        return moved(mask, move.grown, move.pruned)
