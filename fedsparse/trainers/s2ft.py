"""S2FT: some inputs of every layer are trained, whole columns of its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from fedsparse.cohort.trainer import Gradient, Masked, Moment
from fedsparse.masks import layers_of
from fedsparse.options import option
from fedsparse.protocol import Field
from fedsparse.trainers._layers import sides


@dataclass(frozen=True)
class S2FT(Masked):
    """Structured sparse fine-tuning (Yang et al., NeurIPS 2024, arXiv 2412.06289).

    A hidden unit couples two layers: it is an output of one and an input of the next. Of each layer [n_out, n_in, ...]
    but the first, whose inputs are the data, the strategy's local steps move the weights from a ``share`` of its inputs
    alone, and all else keeps the values W_0 that the run begins with::

        W[:, S],   S: max(1, round(share n_in)) inputs

    S is drawn (``select=random``), or has the inputs whose weights in W_0 have the ``largest`` or the ``smallest``
    norm. Of a convolution an input is a channel, of a layer behind a flattened image a place of a channel.
    Mask: global. It follows from W_0 or the run's seed, so nothing is sent for it.
    Departs from the paper in that slices stay where they are: with masks there is nothing to gain by moving them
    together, and the function is the same. There is no selection by activations or gradients, which need data.
    """

    frozen: ClassVar[bool] = True

    share: float = option(
        0.1, "share of the inputs of each layer whose weights are trained", above=0, at_most=1
    )
    select: str = option("random", "which inputs", choices=("random", "largest", "smallest"))

    def mask(self, x: Tensor, moment: Moment, gradient: Gradient) -> Tensor:
        """The weights from the selected inputs."""
        mask = torch.zeros(1, moment.layout.size, dtype=torch.bool)
        drawn = replace(moment, round=0).shared("inputs")
        layers = layers_of(moment.layout, ends=True)
        for layer in layers[1:] or layers:
            order = self._order(layer, moment.start, drawn)
            count = max(1, math.floor(self.share * len(order) + 0.5))
            mask[:, layer.slice].view(sides(layer))[:, order[:count]] = True
        return mask

    def _order(self, layer: Field, start: Tensor, drawn: np.random.Generator) -> Tensor:
        """The inputs of a layer, those first that are to be selected first."""
        shape = sides(layer)
        if self.select == "random":
            return torch.from_numpy(drawn.permutation(shape[1]))
        norms: Tensor = start[layer.slice].view(shape).transpose(0, 1).flatten(1).norm(dim=1)
        return norms.sort(descending=self.select == "largest", stable=True).indices
