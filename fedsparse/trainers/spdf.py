"""SPDF: sparse training first, dense training afterwards."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.cohort.trainer import Gradient, Moment
from fedsparse.options import option
from fedsparse.trainers._layers import Layered


@dataclass(frozen=True)
class SPDF(Layered):
    """Sparse pre-training and dense fine-tuning (Thangarasa et al., UAI 2023).

    For the first ``sparse`` of all rounds the model is on a fixed random mask with the densities of ``ratio``; then the
    weights that were not there start from zero, and training is the strategy's, unchanged.
    Mask: seeded. It follows from the run's seed, so nothing is sent for it.
    Departs from the paper in that one task takes the place of two, and in ``ratio``, which is uniform there.
    """

    ratio: str = option(
        "uniform", "densities of layers relative to each other", choices=("uniform", "er", "erk")
    )
    sparse: float = option(0.5, "share of the rounds that are sparse", at_least=0, at_most=1)

    def start(self, moment: Moment) -> Tensor:
        """The initial parameters on the random mask."""
        return torch.where(self.random(moment), moment.start, 0) if self._pruned(moment) else moment.start

    def mask(self, x: Tensor, moment: Moment, gradient: Gradient) -> Tensor | None:
        """The random mask, then none."""
        return self.random(moment)[None] if self._pruned(moment) else None

    def _pruned(self, moment: Moment) -> bool:
        return moment.round < int(self.sparse * moment.rounds)
