"""HetLoRA: clients have adapters of different ranks, the leading parts of the server's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from fedsparse.masks import Cost, at_marks, unpacked
from fedsparse.message import Ragged
from fedsparse.options import option
from fedsparse.protocol import Context, Inbox, Layout, Message, Role, Start, State, Task
from fedsparse.strategies._adapters import Adapters, rank_masks


@dataclass(frozen=True)
class HetLora(Adapters):
    """HetLoRA (Cho, Liu, Xu, Fahrezi, Joshi, 2024, arXiv:2401.06432), as a baseline of FLASC's code.

    x are all trained parameters. Client i has rank r_i, the (i mod n)-th of the n ``ranks``: m_i are the first r_i rows
    of every A, the first r_i columns of every B, and the head. With K = ``steps`` (or ``epochs``), η_l = ``lr``, β =
    ``momentum``, S clients a round::

        client:   y_i = m_i ⊙ x;   K times:  v <- β v + m_i ⊙ g_i(y_i),  y_i <- y_i - η_l v;     send y_i - x on m_i
        server:   D = (1/S) sum_S of what was sent, zero elsewhere;   x <- AdamW(x, -D), or x <- x + η_g D

    Sent: both ways the values on m_i, which both ends know. Server state: 3 d (adamw); clients keep none.
    Records ``flops`` and ``device_bytes``, and ``residual`` as ``flasc`` does. Evaluated is x, of full rank.
    Limit: with ranks that are all the model's it is FedAvg with the server's rule; else none.
    Departures: the paper also weighs clients by the norm of their product and lets them prune their own rank; here, as
    in FLASC's code, the mean is plain and ranks stay. That code's choice of components by norm is not here.
    A model without adapters is all head.
    """

    ranks: tuple[int, ...] = option((1, 4, 16), "ranks of the clients, in turn", at_least=1)

    def masks_of(self, ids: Tensor, layout: Layout) -> Tensor:
        """What these clients have, ``[C, d]`` bool."""
        return rank_masks(layout, self.ranks)[ids % len(self.ranks)]

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        if role != "server":
            return {}
        zero = torch.zeros((), dtype=torch.float64)
        return {"x": start.x, "@residual": zero, **self.optimizer_state(start.x)}

    def broadcast(self, server: State, ctx: Context) -> Message:
        mine = self.masks_of(ctx.ids, ctx.layout)
        return {"x": Ragged.of(server["x"].expand(len(mine), -1), mine)}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        mask = self.masks_of(ctx.ids, ctx.layout)
        local = self.train(unpacked(heard["x"], mask), task, mask)
        cost = Cost.of(task, mask, local.steps, self.momentum)
        return {}, {"dx": Ragged.of(local.change, mask), **cost.message()}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        masks = self.masks_of(inbox.senders, ctx.layout)
        sent = at_marks(cast("Ragged", inbox.payload("dx")), masks)
        total = torch.zeros_like(server["x"])
        sent.accumulate(total, torch.full((len(masks),), 1 / len(masks), dtype=torch.float64))
        models = torch.where(masks, server["x"], 0) + sent.dense()
        return {**self.stepped(server, total), **self.measured(models, ctx.layout)}
