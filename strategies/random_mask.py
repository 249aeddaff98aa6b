"""FedAvg on a random sparse model, which a seed of 8 bytes stands for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.masks import FixedMask, new_seed, placed, seeded_mask
from fedsparse.message import Scalars
from fedsparse.protocol import Context, Layout, Message, Role, Start, State


@dataclass(frozen=True)
class RandomMask(FixedMask):
    """A fixed random mask with Erdős-Rényi-kernel densities (as the static baseline of Evci et al., RigL, ICML 2020).

    With m of ρ = ``density``, drawn once in the proportions of ``ratio``, K = ``steps`` (or ``epochs``), η_l = ``lr``,
    η_g = ``server_lr`` and weights p_i by ``weighting``::

        client:   y_i = x;   K times:  y_i <- y_i - η_l m ⊙ g_i(y_i);     send y_i - x on m
        server:   x <- x + η_g sum_i p_i (y_i - x)                        x is zero outside of m

    Sent: down the values of x on m and the seed of m (8 bytes, every round, so that nobody has to remember it); up the
    values of the change on m. Clients keep no state. Records ``flops`` and ``device_bytes``.
    Limit: that of FedAvg on the model with these weights. With ρ = 1 it is FedAvg.
    """

    fresh = ("x", "mask", "seed")

    def first_mask(self, start: Start, ctx: Context) -> Tensor:
        return self._of(new_seed(ctx), start.layout)

    def _of(self, seed: int, layout: Layout) -> Tensor:
        return seeded_mask(seed, layout, self.layers(layout), self.counts(layout))

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        state = super().init(role, start, ctx)
        seed = torch.tensor([new_seed(ctx)], dtype=torch.float64)
        return {**state, "seed": seed} if role == "server" else state

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {**super().broadcast(server, ctx), "seed": Scalars(server["seed"][None])}

    def hear(self, held: State, said: State, ctx: Context) -> State:
        mask = self._of(int(said["seed"]), ctx.layout)
        return {"x": placed(said["x"], mask), "mask": mask[None]}
