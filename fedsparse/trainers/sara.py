"""SaRA: only the weights that were smallest at the start are trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from fedsparse.cohort.trainer import Gradient, Masked, Moment
from fedsparse.masks import Last, everywhere, layers_of
from fedsparse.options import option

_SMALL: Last[tuple[float, Tensor]] = Last()


@dataclass(frozen=True)
class SaRA(Masked):
    """SaRA, fine-tuning of the least important weights (Hu et al., ICLR 2025, arXiv 2409.06633).

    With the weights W_0 that the run begins with, those of all layers together, and τ their ``share``-quantile in
    magnitude, the strategy's local steps move in round t of T only::

        M_t = {i : |W_0,i| <= τ}                      while t < ``again`` T
        M_t = {i : |W_0,i| <= τ and |x_i| <= τ}       then, with x where the round starts

    All other weights, and all that is no layer's, keep the values of W_0. A weight that has outgrown τ rests.
    Mask: global. It follows from W_0, which every worker has, and from what the strategy gives; nothing is sent for it.
    Departs from the paper in having no penalty on the nuclear norm of the change, and in that weights are selected
    again in every round of the second part, not once: nobody remembers an earlier selection.
    """

    frozen: ClassVar[bool] = True

    share: float = option(
        0.2, "share of the layers' weights that is trained: those of least magnitude", above=0, at_most=1
    )
    again: float = option(
        0.5,
        "share of the rounds after which weights that have outgrown the threshold rest",
        at_least=0,
        at_most=1,
    )

    def mask(self, x: Tensor, moment: Moment, gradient: Gradient) -> Tensor:
        """The weights that are below the threshold."""
        threshold, mask = self._small(moment)
        return mask if moment.round < int(self.again * moment.rounds) else mask & (x.abs() <= threshold)

    def _small(self, moment: Moment) -> tuple[float, Tensor]:
        """τ, and the weights that are not above it at the start, ``[1, d]`` bool; the same in every round."""
        known = _SMALL.get(moment.start, (self, moment.layout))
        if known is not None:
            return known
        weights = ~everywhere(moment.layout, layers_of(moment.layout, ends=True))
        first = moment.start.abs()
        among = first[weights].numpy()
        rank = max(1, math.floor(self.share * len(among) + 0.5)) - 1
        threshold = float(np.partition(among, rank)[rank])
        return _SMALL.put(
            moment.start, (threshold, (weights & (first <= threshold))[None]), (self, moment.layout)
        )
