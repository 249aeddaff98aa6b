"""FL-PQSU's pruning: whole filters are left out, once, before training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.compress.select import largest
from fedsparse.masks import RATIOS, FixedMask, everywhere
from fedsparse.options import option
from fedsparse.protocol import Context, Field, Start


@dataclass(frozen=True)
class FLPQSU(FixedMask):
    """The pruning stage of FL-PQSU (Xu, Fang, Zhang, et al., IEEE TMC 2021, "Accelerating federated learning for IoT").

    A filter is all weights of one output of a layer. In each layer l with densities ρ_l from ``density`` and ``ratio``,
    the round(ρ_l outputs) filters of largest L1 norm at the start are kept, at least one; then, with K = ``steps`` (or
    ``epochs``), η_l = ``lr``, η_g = ``server_lr`` and p_i by ``weighting``::

        client:   y_i = x;   K times:  y_i <- y_i - η_l m ⊙ g_i(y_i);     send y_i - x on m
        server:   x <- x + η_g sum_i p_i (y_i - x)                        x is zero outside of m

    Sent: both ways the values on m, and once to each client m itself. Clients keep no state.
    Records ``flops`` and ``device_bytes``. Limit: that of FedAvg on the model with these weights.
    Departures: of the method's three parts (pruning, quantisation, selective updating) this is the first: a quantised
    uplink and skipped updates are other things to compare with. Biases, norms, and the weights of the next layer that
    read a filter which is gone stay, as they do under the other masks here. The density is that of whole filters, so it
    is met up to rounding; the default is the paper's one ratio for all layers.
    """

    ratio: str = option("uniform", "densities of layers relative to each other", choices=tuple(RATIOS))

    def first_mask(self, start: Start, ctx: Context) -> Tensor:
        layers = self.layers(start.layout)
        mask = everywhere(start.layout, layers)
        for layer, count in zip(layers, self.counts(start.layout), strict=True):
            mask[layer.slice] = _filters(start.x[layer.slice], layer, count / layer.size).flatten()
        return mask


def _filters(weights: Tensor, layer: Field, density: float) -> Tensor:
    """The mask ``[outputs, n]`` of the filters that are kept."""
    norms = weights.abs().view(layer.shape[0], -1).sum(1)
    kept = largest(norms[None], max(1, round(density * len(norms))))[0]
    mask = torch.zeros(len(norms), layer.size // len(norms), dtype=torch.bool)
    mask[kept] = True
    return mask
