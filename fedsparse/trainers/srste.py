"""SR-STE: of every M weights the N largest are used, and all are trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedsparse.cohort.trainer import Gradient, Stepped
from fedsparse.errors import ConfigError
from fedsparse.masks import factors, layers_of
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
            groups, marks = (
                of[:, layer.slice].view(len(x), *shape).unflatten(2, (-1, self.m))  # type: ignore[no-untyped-call]
                for of in (x, used)
            )
            marks.copy_(_largest(groups.movedim(3, 0), self.n).movedim(0, 3))
        return used

    def model(self, x: Tensor, layout: Layout) -> Tensor:
        """The weights that are used, e ⊙ W."""
        return x * factors(self.used(x, layout), x.dtype)

    def direction(self, y: Tensor, layout: Layout, gradient: Gradient) -> Tensor:
        """∇f(e ⊙ W) + λ (1 - e) ⊙ W."""
        used = self.model(y, layout)
        unused = y - used
        return gradient(used).add_(unused.mul_(self.decay))


def _largest(groups: Tensor, count: int) -> Tensor:
    """Which are the ``count`` largest of every group ``[M, ...]``, bool; of equal ones the first.

    Groups are small: to count, pair after pair, who is larger than whom is many times faster than to sort.
    """
    sizes = groups.abs().contiguous().numpy()
    larger = np.empty(sizes.shape, np.min_scalar_type(len(sizes)))
    for second in range(len(sizes)):
        larger[second] = len(sizes) - 1 - second
        for first in range(second):
            ahead = (sizes[first] >= sizes[second]).view(np.uint8)
            larger[first] -= ahead
            larger[second] += ahead
    return torch.from_numpy(larger < count)
