"""SR-STE: of every M weights the N largest are used, and all are trained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedsparse.cohort.trainer import Stepped
from fedsparse.cohort.walk import points
from fedsparse.errors import ConfigError
from fedsparse.masks import largest_of_groups, layers_of
from fedsparse.options import option
from fedsparse.protocol import Field, Layout
from fedsparse.trainers._layers import sides

Found = tuple[tuple[slice, slice], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class SRSTE(Stepped):
    """N:M sparsity by a sparse-refined straight-through estimator (Zhou et al., ICLR 2021).

    With W the strategy's weights, e the mask of the N = ``n`` largest |W| of every M = ``m`` consecutive inputs of an
    output (of a convolution: input channels, at each place of the kernel), found anew in every step, and λ = ``decay``,
    the strategy's local step has instead of the gradient of its loss f::

        ∇f(e ⊙ W) + λ (1 - e) ⊙ W

    Gradients reach all weights. The evaluated model is e ⊙ W of the strategy's W: averages are of dense weights, and
    are masked afterwards, as an average of N:M models with different masks is none. A layer whose number of inputs is
    not a multiple of M stays dense; so do the first and the last layer unless ``ends``.
    Mask: global in what is evaluated, local within training. It follows from W; what travels is W, as the strategy
    sends it.
    """

    elsewhere: ClassVar[bool] = True
    by_output: ClassVar[bool] = True

    n: int = option(2, "weights N that are kept of a group", at_least=1)
    m: int = option(4, "weights M of a group", at_least=1)
    decay: float = option(2e-4, "weight λ of the pull of unused weights to zero", at_least=0)
    ends: bool = option(False, "whether the first and the last layer are pruned, too")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n > self.m:
            raise ConfigError(f"trainer.n={self.n}: must be at most trainer.m={self.m}")

    def used(self, x: Tensor, layout: Layout) -> Tensor:
        """e, ``[C, d]`` bool, of the weights ``x [C, d]``; of equal magnitudes the first is used."""
        used = torch.ones_like(x, dtype=torch.bool)
        for layer in self.layers(layout):
            own = used[:, layer.slice].numpy()
            for at, largest in self._largest(x[:, layer.slice], layer):
                own[at] = largest
        return used

    def model(self, x: Tensor, layout: Layout) -> Tensor:
        """The weights that are used, e ⊙ W."""
        return points(self, x, layout)

    def layers(self, layout: Layout) -> list[Field]:
        """The layers whose inputs are in groups."""
        return [layer for layer in layers_of(layout, self.ends) if sides(layer)[1] % self.m == 0]

    def point(self, y: Tensor, layer: Field, out: Tensor) -> None:
        """E ⊙ W."""
        for at, largest in self._largest(y, layer):
            # As bytes: what is bool is slow to multiply with.
            torch.mul(y[at], torch.from_numpy(largest).view(torch.uint8), out=out[at])

    def redirect(self, gradient: Tensor, y: Tensor, point: Tensor, layer: Field, layout: Layout) -> None:
        """∇f(e ⊙ W) + λ (1 - e) ⊙ W."""
        gradient.add_(y - point, alpha=self.decay)

    def _largest(self, x: Tensor, layer: Field) -> Iterator[Found]:
        """Which weights of a layer are used; its inputs lie as far apart as the kernel has places."""
        return largest_of_groups(x, self.n, self.m, math.prod(sides(layer)[2:]))
