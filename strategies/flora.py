"""FLoRA: the clients' adapters are stacked, merged into the frozen weights, and begun anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from fedsparse.errors import ConfigError
from fedsparse.masks import Cost, at_marks, placed, taken
from fedsparse.message import Dense, Ragged
from fedsparse.options import option
from fedsparse.protocol import Context, Field, Inbox, Layout, Message, State, Task, Theory
from fedsparse.strategies._adapters import head_of, rank_masks
from fedsparse.strategies._merging import Merging, Stack

_ALL = 1 << 32
"""More than any rank."""


@dataclass(frozen=True)
class FLora(Merging):
    """FLoRA (Wang, Shen, He, Sun, Wang, Lyu, Li, NeurIPS 2024, arXiv:2409.05976).

    x are all trained parameters, adapters and head; P is what is merged into the frozen weights of the layers with
    adapters, W + (alpha / r) P + (alpha / r) B A. With K = ``steps`` (or ``epochs``), η_l = ``lr``, β = ``momentum``,
    weights p_i by ``weighting``, which sum to one::

        all:      A of each layer drawn anew, as it first was, the same for all; B = 0
        client:   y_i = x;   K times:  v <- β v + g_i(y_i; P),  y_i <- y_i - η_l v;        send y_i - x
        server:   P <- P + [p_1 B_1 ... p_M B_M] [A_1; ...; A_M]      stacked: sum_i p_i B_i A_i, of rank M r
                  head <- head + sum_i p_i of its changes

    With ``ranks``, client i has the (i mod n)-th of them: that many rows of A and columns of B. Adapters of unequal
    rank can be stacked, so nothing is cut off or padded.

    Sent: up d values, or those of the client's rank; down the head, and of each layer of m outputs and n inputs the
    smaller of (m + n) k and m n values, k being the sum of the ranks of those who took part. A follows from the run's
    seed and the round. Whoever was away is sent all that it missed, or x and P where that is shorter. Server state:
    d + 2 f, where f are the frozen weights of the layers with adapters; clients keep no state, and hold x and P alike.
    Records ``flops`` and ``device_bytes`` of what is trained, and as ``residual`` what averaging A and B apart, zero
    beyond a client's rank, would have missed: |sum_i p_i B_i A_i - B̄ Ā| / |sum_i p_i B_i A_i| over all layers.
    Limit: that of FedAvg on a model of full rank, as far as adapters of rank r reach within a round; without adapters
    it is FedAvg.
    Departures: all clients of a round draw the same A; alpha / r is the model's for all ranks. The rule of a robust
    ``aggregator`` has nothing to apply to.
    """

    theory = Theory("fixed_point", {"lr": 0.02, "steps": 5, "momentum": 0.0}, rounds=300, within=1e-8)

    ranks: tuple[int, ...] = option((), "ranks of clients that differ, in turn; else the model's")

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.ranks, default=1) < 1:
            raise ConfigError(
                f"strategy.ranks={self.ranks}: each must be at least 1, as in strategy.ranks=[1,4]"
            )

    def ranks_of(self, ids: Tensor) -> Tensor:
        """The ranks of these clients, ``[C]``; one that is above the model's is all of it."""
        return torch.tensor(self.ranks or (_ALL,))[ids % max(1, len(self.ranks))]

    def masks(self, ids: Tensor, layout: Layout) -> Tensor | None:
        """What these clients have of a model, ``[C, d]`` bool; ``None``: all."""
        return rank_masks(layout, self.ranks)[ids % len(self.ranks)] if self.ranks else None

    def begun(self, x: Tensor, ctx: Context) -> Tensor:
        """The model ``[..., d]`` with adapters as they begin in this round."""
        draws, found = ctx.shared("adapters"), x.clone()
        for a, b in ctx.layout.adapters:
            bound = a.shape[1] ** -0.5  # of Kaiming's draw with slope sqrt(5), which `peft` makes
            found[..., a.slice] = torch.from_numpy(draws.uniform(-bound, bound, a.size)).to(x.dtype)
            found[..., b.slice] = 0
        return found

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": taken(server["x"][None], head_of(ctx.layout)), **self.news(server, ctx.layout)}

    def hear(self, held: State, said: State, ctx: Context) -> State:
        x = placed(said["x"], head_of(ctx.layout))
        return super().hear(held, {**said, "x": self.begun(x, ctx)}, ctx)

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        mask = self.masks(ctx.ids, ctx.layout)
        task.merge(heard["merged"])
        local = self.train(heard["x"] if mask is None else torch.where(mask, heard["x"], 0), task, mask)
        sent = Dense(local.change) if mask is None else Ragged.of(local.change, mask)
        return {}, {"dx": sent, **Cost.of(task, mask, local.steps, self.momentum).message()}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        layout, start = ctx.layout, self.begun(server["x"], ctx)
        mask, p = self.masks(inbox.senders, layout), self.coefficients(inbox)
        if mask is None:
            mean = inbox.mean("dx", by=self.weighting)
            averaged = start + mean
        else:
            sent = at_marks(cast("Ragged", inbox.payload("dx")), mask)
            mean = torch.zeros_like(start)
            sent.accumulate(mean, p)
            changes = sent.dense()
            averaged = (p.to(start.dtype) @ mask.to(start.dtype)) * start + mean

        def ends(field: Field) -> Tensor:
            """A tensor of all clients, ``[M, *shape]``; what a client does not have stands there and is not stacked."""
            moved = inbox.stack("dx", field.slice) if mask is None else changes[:, field.slice]
            return (start[field.slice] + moved).unflatten(1, field.shape)

        ranks, weights = self.ranks_of(inbox.senders), p.to(start.dtype)[:, None, None]
        stacks = (_stacked(ends(a), weights * ends(b), ranks) for a, b in layout.adapters)
        x = torch.where(head_of(layout), start + mean, start)
        return self.merged(server, x, stacks, averaged, layout)


def _stacked(a: Tensor, b: Tensor, ranks: Tensor) -> Stack:
    """A layer's ``a [M, r, n]`` and ``b [M, m, r]`` one behind the other, as far as each client's rank ``[M]`` goes."""
    there = torch.arange(a.shape[1]) < ranks[:, None]
    return Stack(b.mT[there], a[there])
