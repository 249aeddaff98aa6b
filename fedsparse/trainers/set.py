"""SET: the smallest weights make room for random ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedsparse.cohort.trainer import Gradient, Moment
from fedsparse.masks import top_each
from fedsparse.options import option
from fedsparse.trainers._layers import Layered, Moving


@dataclass(frozen=True)
class SET(Moving, Layered):
    """Sparse evolutionary training (Mocanu et al., Nature Communications 9, 2018).

    The model starts on a random mask with the densities of ``ratio``. Every ``every`` rounds before ``stop`` of them,
    in each layer with n weights::

        prune the floor(ζ n) of least magnitude;  grow as many at random where there was no weight, from zero

    with ζ = ``zeta``. Local training is the strategy's, on the mask; the number of weights of a layer stays.
    Mask: global. It follows from what the strategy gives, the round and the run's seed, so nothing is sent for it.
    Departs from the paper in that it moves by rounds, not by epochs, and prunes by magnitude, not the largest negative
    and the smallest positive weights.
    """

    every: int = option(1, "rounds between two moves", at_least=1)
    zeta: float = option(0.3, "share ζ of a layer's weights that moves", at_least=0, below=1)

    def share(self, moment: Moment) -> float:
        """Constant."""
        return self.zeta

    def next_mask(
        self, x: Tensor, mask: Tensor, counts: list[int], moment: Moment, gradient: Gradient
    ) -> Tensor:
        """What grows are random places that were empty; the same for all clients with the same mask."""
        pruned = self.lightest(x, mask, counts, moment)
        drawn = moment.shared("grow").random(mask.shape[1], dtype=np.float32)
        drawn += 1  # what is empty is above zero
        scores = torch.from_numpy(drawn * ~mask.numpy())
        return mask & ~pruned | top_each(scores, self.layers(moment.layout), counts)
