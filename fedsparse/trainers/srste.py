"""SR-STE: of every M weights the N largest are used, and all are trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.cohort.trainer import Gradient, Stepped
from fedsparse.errors import ConfigError
from fedsparse.masks import layers_of
from fedsparse.options import option
from fedsparse.protocol import Layout
from fedsparse.trainers._layers import sides


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
        for layer in layers_of(layout, self.ends):
            shape = sides(layer)
            if shape[1] % self.m:
                continue
            groups = x[:, layer.slice].view(len(x), *shape).movedim(2, -1).unflatten(-1, (-1, self.m))  # type: ignore[no-untyped-call]
            order = groups.abs().sort(dim=-1, descending=True, stable=True).indices[..., : self.n]
            kept = torch.zeros(groups.shape, dtype=torch.bool).scatter_(-1, order, True)
            used[:, layer.slice] = kept.flatten(-2).movedim(-1, 2).reshape(len(x), -1)
        return used

    def model(self, x: Tensor, layout: Layout) -> Tensor:
        """The weights that are used, e ⊙ W."""
        return torch.where(self.used(x, layout), x, 0)

    def direction(self, y: Tensor, layout: Layout, gradient: Gradient) -> Tensor:
        """∇f(e ⊙ W) + λ (1 - e) ⊙ W."""
        used = self.used(y, layout)
        return gradient(torch.where(used, y, 0)) + self.decay * torch.where(used, 0, y)
