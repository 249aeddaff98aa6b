"""FedAvg on the weights through which most flows from the inputs to the outputs: pruning without data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.masks import FixedMask, everywhere, top_overall
from fedsparse.options import option
from fedsparse.protocol import Context, Start


@dataclass(frozen=True)
class SynFlow(FixedMask):
    """SynFlow (Tanaka, Kunin, Yamins, Ganguli, NeurIPS 2020, arXiv:2006.05467), then FedAvg on what is left.

    With ρ = ``density``, I = ``iterations``, and R(w) the sum of the outputs for an input of ones with all parameters
    made positive::

        server:   m = 1;   for i = 1 .. I:   s = |m ⊙ θ_0| ⊙ ∂R/∂w at w = |m ⊙ θ_0|;   m = the ρ^(i/I) n largest of s
        client:   y_i = x;   K times:  y_i <- y_i - η_l m ⊙ g_i(y_i);     send y_i - x on m
        server:   x <- x + η_g sum_i p_i (y_i - x)                        x = m ⊙ θ_0 at first

    K = ``steps`` (or ``epochs``), η_l = ``lr``, η_g = ``server_lr``, p_i by ``weighting``. The n weights are those of
    the pruned layers, all together, so ``ratio`` means nothing. In double precision, since R grows with the depth;
    BatchNorm in evaluation mode with its first statistics.

    Sent: both ways the values on m, and once to each client m itself. Clients keep no state.
    Records ``flops`` and ``device_bytes``. Limit: that of FedAvg on the model with these weights.
    A problem without a network counts as one layer whose R is the sum of its parameters: |θ_0| decides.
    """

    iterations: int = option(100, "steps I in which the density falls to its end", at_least=1)

    def first_mask(self, start: Start, ctx: Context) -> Tensor:
        layers = self.layers(start.layout)
        total, end = sum(layer.size for layer in layers), sum(self.counts(start.layout))
        always = everywhere(start.layout, layers)
        mask = torch.ones_like(always)
        for i in range(1, self.iterations + 1):
            count = max(end, round(total * (end / total) ** (i / self.iterations)))
            mask = top_overall(_flow(start, mask)[None], layers, count)[0] | always
        return mask


def _flow(start: Start, mask: Tensor) -> Tensor:
    """The scores ``[d]``, float64."""
    weights = torch.where(mask, start.x, 0).abs().double().requires_grad_()
    if start.forward is None:
        return weights.detach()
    with torch.enable_grad():
        outputs = start.forward(weights, torch.ones(1, *start.input_shape, dtype=torch.float64))
        (slope,) = torch.autograd.grad(outputs.sum(), weights)
    return weights.detach() * slope
