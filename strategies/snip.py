"""FedAvg on the weights that the loss is most sensitive to at the start."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.masks import MovingMask, everywhere, magnitude_mask, top_overall
from fedsparse.message import Dense
from fedsparse.protocol import Audience, Context, Inbox, Message, Role, Start, State, Task

SCORE = "score"


@dataclass(frozen=True)
class Snip(MovingMask):
    """SNIP (Lee, Ajanthan, Torr, ICLR 2019, arXiv:1810.02340), once before training, then FedAvg on what is left.

    With θ_0 the start, g_i a minibatch gradient of client i, p_i by ``weighting``, ρ = ``density``::

        round 0:  every client sends g_i(θ_0);   m = the ρ n entries of largest |θ_0 ⊙ sum_i p_i g_i(θ_0)|
        client:   y_i = x;   K times:  y_i <- y_i - η_l m ⊙ g_i(y_i);     send y_i - x on m
        server:   x <- x + η_g sum_i p_i (y_i - x)                        x = m ⊙ θ_0 at first

    K = ``steps`` (or ``epochs``), η_l = ``lr``, η_g = ``server_lr``. The n weights are those of the pruned layers, all
    together, so ``ratio`` means nothing and a layer may lose all its weights.

    Sent: once down θ_0 and up a gradient, d values each, of all clients; the mask; then both ways the values on m.
    Clients keep no state. Records ``flops`` and ``device_bytes`` of the rounds, without the scoring.
    Limit: that of FedAvg on the model with these weights.
    Departures: the paper scores one minibatch at one place. A server has no data here, so it is the clients'
    minibatches, and their gradients are counted. Where no weight has a score, since all gradients are zero, |θ_0|
    decides.
    """

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return (SCORE, "train") if ctx.round == 0 else ("train",)

    def audience(self, ctx: Context) -> Audience:
        return "all" if ctx.phase == SCORE else "cohort"

    def first_mask(self, start: Start, ctx: Context) -> Tensor:
        layout = start.layout
        return magnitude_mask(start.x, layout, self.layers(layout), self.counts(layout))

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        state = super().init(role, start, ctx)
        return {**state, "start": start.x} if role == "server" else state

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": Dense(server["start"][None])} if ctx.phase == SCORE else super().broadcast(server, ctx)

    def hear(self, held: State, said: State, ctx: Context) -> State:
        return {**held, "x": said["x"]} if ctx.phase == SCORE else super().hear(held, said, ctx)

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        if ctx.phase == SCORE:
            return {}, {"gradient": Dense(task.grad(heard["x"]))}
        return super().client_update(client, heard, task, ctx)

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        if ctx.phase != SCORE:
            return super().aggregate(server, inbox, ctx)
        layers, start = self.layers(ctx.layout), server["start"]
        scores = start * inbox.mean("gradient", by=self.by)
        kept = top_overall(scores[None], layers, sum(self.counts(ctx.layout)))[0]
        mask = kept | everywhere(ctx.layout, layers)
        if not any(scores[layer.slice].any() for layer in layers):
            mask = server["mask"]
        return {**server, "x": torch.where(mask, start, 0), "mask": mask, "grown": mask}
