"""FLASC: low-rank adapters that are sparse on the way down and on the way up, and dense where they are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fedsparse.masks import Cost, marked, top_each, top_overall
from fedsparse.message import Dense, Payload
from fedsparse.options import option
from fedsparse.protocol import (
    Context,
    Field,
    Inbox,
    Message,
    Role,
    Start,
    State,
    Task,
    Theory,
    Vectors,
)
from fedsparse.strategies._adapters import Adapters, adapter_fields, head_of


@dataclass(frozen=True)
class Flasc(Adapters):
    """FLASC (Kuo, Raje, Rajesh, Smith, 2024, arXiv:2406.05233), from the authors' code.

    It is the method of Raje's thesis (CMU-CS-24-123, 2024) and, under the name CELLM, of arXiv:2407.20557, whose
    abstract is the thesis's: ``cellm`` is another name of it.

    x are all trained parameters, adapters and head, d of them. With ρ_d = ``down``, ρ_u = ``up``, K = ``steps`` (or
    ``epochs``), η_l = ``lr``, β = ``momentum``, γ = ``decay``, f = ``every``, S clients in round r::

        both densities times γ^⌊r / f⌋
        server:   m = the ⌊ρ_d d⌋ largest |x|
        client:   y_i = m ⊙ x;   K times:  v <- β v + g_i(y_i),  y_i <- y_i - η_l v         all of y_i is trained
                  send the ⌊ρ_u d⌋ largest |y_i - m ⊙ x| of the change                    from the masked start
        server:   D = (1/S) sum_S of what was sent                                     unweighted
                  x <- AdamW(x, -D) of step η_g = ``server_lr`` and decay λ, or x <- x + η_g D with ``optimizer=sgd``

    x is never pruned on the server, and AdamW also moves entries that nobody sent, by its memory and decay. Evaluated
    is m ⊙ x with the last m, which is what a client would get; with ``eval_masked=false`` it is x.

    ``per_tensor`` takes the largest of each tensor. The joint choice depends on scale: (A, B) -> (c A, B / c) is the
    same model and another mask. ``densities`` are of clients that differ, client i having the (i mod n)-th both ways;
    then m covers the adapters alone, and the head is dense on the way down. Evaluated is the densest one's m.

    B is zero at first. So where ρ_d is below the share of A and the head, clients hear nothing of B, and train it all
    the same: a mask that is kept from there on (``sparse_adapter``) could not.

    Sent: down ⌊ρ_d d⌋ values with their positions, up ⌊ρ_u d⌋. Server state: 3 d (adamw); clients keep no state.
    Records ``flops`` and ``device_bytes``, and what is missed by averaging A and B apart, over all layers, as
    ``residual``: |mean(B A) - mean(B) mean(A)| / |mean(B A)|.
    Limit: with both densities 1 and ``optimizer=sgd`` of step 1 it is FedAvg without weights; else none.
    Departures: at least one entry is sent; the decay of the model is the server's alone.
    """

    theory = Theory(
        "fixed_point",
        {
            "lr": 0.02,
            "steps": 5,
            "momentum": 0.0,
            "down": 1.0,
            "up": 1.0,
            "optimizer": "sgd",
            "server_lr": 1.0,
        },
        rounds=300,
        within=1e-8,
    )

    down: float = option(0.25, "density ρ_d of what clients hear", above=0, at_most=1)
    up: float = option(0.25, "density ρ_u of what clients send", above=0, at_most=1)
    decay: float = option(1.0, "factor γ of both densities", above=0, at_most=1)
    every: int = option(1, "rounds f from one factor to the next", at_least=1)
    densities: tuple[float, ...] = option((), "densities of clients that differ, instead of down and up")
    per_tensor: bool = option(False, "whether the largest of each tensor are taken, or of all together")
    eval_masked: bool = option(True, "whether what is evaluated has the last download mask")

    def __post_init__(self) -> None:
        super().__post_init__()
        for density in self.densities:
            type(self)(down=density)  # is checked like the one of all

    # ---- which entries travel

    def tiers(self, ids: Tensor) -> Tensor:
        """Which of the densities each client has, ``[C]``."""
        return ids % max(1, len(self.densities))

    def at_round(self, density: float, ctx: Context) -> float:
        """The density in this round."""
        return float(density * self.decay ** (ctx.round // self.every))

    def chosen(self, scores: Tensor, fields: Sequence[Field], density: float) -> Tensor:
        """The largest |scores| ``[C, d]`` of these tensors, together or each."""
        if self.per_tensor:
            return top_each(scores, fields, [_floor(density, field.size) for field in fields])
        return top_overall(scores, fields, _floor(density, sum(field.size for field in fields)))

    def download(self, x: Tensor, ctx: Context) -> Tensor:
        """The masks of the densities, ``[T, d]`` bool, of a model ``x [d]``."""
        layout = ctx.layout
        if not self.densities:
            return self.chosen(x[None], layout.fields, self.at_round(self.down, ctx))
        fields = adapter_fields(layout) or layout.fields
        head = head_of(layout) if adapter_fields(layout) else torch.zeros(layout.size, dtype=torch.bool)
        masks = [self.chosen(x[None], fields, self.at_round(rho, ctx)) for rho in self.densities]
        return torch.cat(masks) | head

    def upload(self, change: Tensor, ctx: Context) -> Tensor:
        """What is sent of the clients' changes ``[C, d]``, bool."""
        if not self.densities:
            return self.chosen(change, ctx.layout.fields, self.at_round(self.up, ctx))
        tiers, marks = self.tiers(ctx.ids), torch.zeros(change.shape, dtype=torch.bool)
        for tier, density in enumerate(self.densities):
            at = tiers == tier
            marks[at] = self.chosen(change[at], ctx.layout.fields, self.at_round(density, ctx))
        return marks

    def evaluated_mask(self, masks: Tensor) -> Tensor:
        """Of the masks ``[T, d]`` the densest, ``[d]``."""
        return masks[int(masks.sum(1).argmax())]

    def dense(self, density: float) -> bool:
        """Whether all entries travel in all rounds, so that no positions need to."""
        return density == 1 and self.decay == 1 and not self.densities

    # ---- the protocol

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        if role != "server":
            return {}
        masks = self.at(0, ctx.rounds).download(start.x, ctx)
        zero = torch.zeros((), dtype=torch.float64)
        state = {"x": start.x, "mask": self.evaluated_mask(masks), "@residual": zero}
        return {**state, **self.optimizer_state(start.x)}

    def broadcast(self, server: State, ctx: Context) -> Message:
        x = server["x"][None]
        if self.dense(self.down):
            return {"x": Dense(x)}
        masks = self.download(server["x"], ctx)
        if self.densities:
            masks = masks[self.tiers(ctx.ids)]
        return {"x": marked(x.expand(len(masks), -1), masks)}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        local = self.train(heard["x"], task)
        sent: Payload = Dense(local.change)
        if not self.dense(self.up):
            sent = marked(local.change, self.upload(local.change, ctx))
        return {}, {"dx": sent, **Cost.of(task, None, local.steps, self.momentum).message()}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        masks = self.download(server["x"], ctx)
        starts = torch.where(masks[self.tiers(inbox.senders)], server["x"], 0)
        new = self.stepped(server, inbox.mean("dx", by="one"))
        return {
            **new,
            "mask": self.evaluated_mask(masks),
            **self.measured(starts + inbox.stack("dx"), ctx.layout),
        }

    def model(self, state: State, ctx: Context) -> Tensor:
        return torch.where(state["mask"], state["x"], 0) if self.eval_masked else state["x"]

    def communication(self, size: int) -> tuple[Vectors, ...]:
        ways: dict[str, Any] = {
            way if self.dense(density) else f"{way}_compressed": 1
            for way, density in (("down", self.down), ("up", self.up))
        }
        return (Vectors(**ways),)


def _floor(density: float, size: int) -> int:
    """Entries that a density leaves of ``size``: rounded down, as in the authors' code, and at least one."""
    return max(1, int(density * size))
