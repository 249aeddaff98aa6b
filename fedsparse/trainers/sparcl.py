"""SparCL's gradient masking: a step moves only the weights that matter most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedsparse.cohort.trainer import Stepped
from fedsparse.masks import layer_counts, layers_of
from fedsparse.options import option
from fedsparse.protocol import Field, Layout


@dataclass(frozen=True)
class SparCL(Stepped):
    """The dynamic gradient masking of SparCL (Wang et al., NeurIPS 2022, arXiv 2209.09476).

    With the importance c = |w| + α |g| of weights w with gradient g, α = ``alpha``, the strategy's local step has
    instead of the gradient::

        m ⊙ g,   m: the share ``density`` of each layer's weights with the largest c, and all that is no layer's

    Weights stay dense, and so does the evaluated model; what is masked is forgotten, without error feedback.
    Mask: local. It follows from the client's weights and gradient in each step, and nothing is sent for it.
    Departs from the paper, which is about continual learning, in having no buffer of old tasks, whose gradient is a
    third term of c, no sparse weights and no removal of examples; and m is found in every step, not every few epochs.
    """

    by_output: ClassVar[bool] = True

    density: float = option(0.2, "share of each layer's weights that a step moves", above=0, at_most=1)
    alpha: float = option(1.0, "weight α of the gradient in the importance", at_least=0)
    ends: bool = option(False, "whether the gradients of the first and the last layer are masked, too")

    def layers(self, layout: Layout) -> tuple[Field, ...]:
        """Linear layers and convolutions."""
        return layers_of(layout, self.ends)

    def moving(self, layer: Field, layout: Layout) -> int:
        """The number of ones in m."""
        layers = self.layers(layout)
        return layer_counts(layers, self.density, "uniform")[layers.index(layer)]

    def weigh(self, gradient: Tensor, y: Tensor, out: Tensor) -> None:
        """The importance c."""
        torch.abs(gradient, out=out)
        torch.add(y.abs(), out, alpha=self.alpha, out=out)
