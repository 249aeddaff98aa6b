"""FedAvg on the weights that are largest at the start."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedsparse.masks import FixedMask, magnitude_mask
from fedsparse.protocol import Context, Start


@dataclass(frozen=True)
class Magnitude(FixedMask):
    """One-shot magnitude pruning (Han, Pool, Tran, Dally, NeurIPS 2015, arXiv:1506.02626), then FedAvg on what is left.

    The mask m keeps the ρ_l n_l weights of largest |θ_0| of each layer l, with ρ_l from ``density`` and ``ratio``;
    then, with K = ``steps`` (or ``epochs``), η_l = ``lr``, η_g = ``server_lr`` and p_i by ``weighting``::

        client:   y_i = x;   K times:  y_i <- y_i - η_l m ⊙ g_i(y_i);     send y_i - x on m
        server:   x <- x + η_g sum_i p_i (y_i - x)                        x is zero outside of m

    Sent: both ways the values on m, and once to each client m itself. Clients keep no state.
    Records ``flops`` and ``device_bytes``. Limit: that of FedAvg on the model with these weights.
    Departure: the paper prunes a model that is trained, here it is whatever the run starts from.
    """

    def first_mask(self, start: Start, ctx: Context) -> Tensor:
        layout = start.layout
        return magnitude_mask(start.x, layout, self.layers(layout), self.counts(layout))
