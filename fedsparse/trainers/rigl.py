"""RigL: the smallest weights make room for those of largest gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.cohort.trainer import Gradient, Moment
from fedsparse.masks import share_at, top_each
from fedsparse.options import option
from fedsparse.trainers._layers import Layered, Moving


@dataclass(frozen=True)
class RigL(Moving, Layered):
    """Rigging the lottery (Evci, Gale, Menick, Castro, Elsen, ICML 2020).

    The model starts on a random mask with the densities of ``ratio``. In round t, every ``every`` rounds before T_end,
    which is ``stop`` of all, in each layer with n weights and with the dense gradient g of the first minibatch::

        k = floor(n α/2 (1 + cos(π t / T_end)))
        prune the k of least magnitude;  grow the k of largest |g| among all that are not kept

    with α = ``alpha``. What is grown starts from zero; what is pruned may return, and keeps its value then. Local
    training is the strategy's, on the mask; the number of weights of a layer stays. A move costs one more gradient.
    Mask: local where it moves. Each client grows by its own gradient, trains there and sends what the strategy sends;
    of what comes out, the largest weights of each layer are everybody's mask in the next round. So nothing is sent for
    it, and a strategy that sends only a part of the entries decides which of the grown weights arrive.
    Departs from the paper in that clients, and not all data together, say what grows, and in moving by rounds.
    """

    alpha: float = option(0.3, "share α of a layer's weights that moves at first", at_least=0, below=1)

    def share(self, moment: Moment) -> float:
        """Along half a cosine."""
        return share_at(self.alpha, moment.round, self.last(moment))

    def next_mask(
        self, x: Tensor, mask: Tensor, counts: list[int], moment: Moment, gradient: Gradient
    ) -> Tensor:
        """What grows are the places of largest gradient among those that are not kept."""
        pruned = self.lightest(x, mask, counts, moment)
        dense = gradient(torch.where(mask, x, 0)).abs()
        # Above zero, so that what is kept never counts as grown where a gradient is zero.
        scores = torch.where(mask & ~pruned, 0, dense + torch.finfo(dense.dtype).tiny)
        return mask & ~pruned | top_each(scores, self.layers(moment.layout), counts)
