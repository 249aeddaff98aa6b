"""Gradual magnitude pruning: fewer and fewer weights, fast at first."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedsparse.cohort.trainer import Gradient, Moment
from fedsparse.masks import layer_counts
from fedsparse.options import option
from fedsparse.schedule import Cubic
from fedsparse.trainers._layers import Layered


@dataclass(frozen=True)
class GMP(Layered):
    """Gradual magnitude pruning (Zhu, Gupta, arXiv 1710.01878).

    In round t the weights of largest magnitude stay, in each layer, in numbers for the density 1 - s_t::

        s_t = s_f + (s_i - s_f) (1 - (t - t_0) / span)^3,   t in {t_0, t_0 + every, ..., t_0 + span}

    and s_t is constant between these. 1 - s_f = ``density``, 1 - s_i = ``first``, t_0 = ``begin``, and t_0 + span is
    ``stop`` of all rounds. Before t_0 training is dense. Local training is the strategy's, on the mask; a weight that
    is gone stays gone where all that a strategy sends is zero outside of the mask.
    Mask: global. It follows from what the strategy gives and the round, so nothing is sent for it.
    Departs from the paper in that it prunes by rounds, not by steps; pruned weights do not return within the span.
    """

    ratio: str = option(
        "uniform", "densities of layers relative to each other", choices=("uniform", "er", "erk")
    )
    first: float = option(1.0, "density 1 - s_i at first", above=0, at_most=1)
    begin: int = option(0, "round t_0 in which pruning begins", at_least=0)
    stop: float = option(
        0.75, "share of the rounds after which the density is the last one", at_least=0, at_most=1
    )
    every: int = option(1, "rounds between two prunings", at_least=1)

    def density_at(self, moment: Moment) -> float:
        """1 - s_t."""
        span = max(1, int(self.stop * moment.rounds) - self.begin)
        since = moment.round - self.begin
        # The last pruning is at the end of the span, which need not be a multiple of `every`.
        pruned = since if since >= span else since // self.every * self.every
        return Cubic(self.first, self.density).at(pruned, span + 1)

    def mask(self, x: Tensor, moment: Moment, gradient: Gradient) -> Tensor | None:
        """The largest weights; all before pruning begins."""
        if moment.round < self.begin:
            return None
        density = self.density_at(moment)
        if density == 1:
            return None
        return self.largest(x, moment.layout, layer_counts(self.layers(moment.layout), density, self.ratio))
