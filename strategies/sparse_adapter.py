"""SparseAdapter: low-rank adapters are pruned by magnitude once, and trained on what is left."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.masks import Cost, best, moved, placed, unpacked
from fedsparse.message import Mask, Ragged
from fedsparse.options import option
from fedsparse.protocol import Context, Inbox, Message, Role, Start, State, Task
from fedsparse.strategies._adapters import Adapters


@dataclass(frozen=True)
class SparseAdapter(Adapters):
    """SparseAdapter (He, Ding, Dong, Zhang, Tao, 2022, arXiv:2210.04284), as a baseline of FLASC's code.

    x are all trained parameters, adapters and head, d of them; m is all ones at first. With ρ = ``density``, K =
    ``steps`` (or ``epochs``), η_l = ``lr``, β = ``momentum``, S clients a round::

        client:   y_i = x;   K times:  v <- β v + m ⊙ g_i(y_i),  y_i <- y_i - η_l v;       send y_i - x on m
        server:   x <- m ⊙ (AdamW, or a plain step, along the unweighted mean)
                  after ``after`` rounds, once:   m = the ⌊ρ d⌋ largest |x|,   x <- m ⊙ x

    With ``after`` = 1, as in that code, the first round is dense. With 0 the mask is that of the start, where B is
    zero: it then consists of A and the head, and where ρ is below their share B is never trained.

    Sent: both ways the values on m; down once to each client what m lost. Server state: 3 d (adamw); clients keep none.
    Records ``flops`` and ``device_bytes``, and ``residual`` as ``flasc`` does.
    Limit: none. Departure: the paper prunes by one of several scores before training; here it is by magnitude.
    """

    fresh = ("x",)
    prunes = True

    density: float = option(0.25, "share ρ of the entries that is kept", above=0, at_most=1)
    after: int = option(1, "rounds that are dense before the mask is taken", at_least=0)

    def kept(self, x: Tensor, mask: Tensor, rounds: int) -> Tensor:
        """What is left of ``mask [d]`` once ``rounds`` are over, of the model ``x [d]``."""
        due = rounds >= self.after and bool(mask.all())
        return best(x.abs(), mask, max(1, int(self.density * len(x)))) if due else mask

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        if role == "client":
            return {}
        everything = torch.ones(start.layout.size, dtype=torch.bool)
        if role == "held":
            return {"x": torch.zeros_like(start.x)[None], "mask": everything[None]}
        mask = self.at(0, ctx.rounds).kept(start.x, everything, 0)
        state = {"x": torch.where(mask, start.x, 0), "mask": mask, "pruned": ~mask}
        zero = torch.zeros((), dtype=torch.float64)
        return {**state, "@residual": zero, **self.optimizer_state(start.x)}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {
            "x": Ragged.of(server["x"][None], server["mask"][None]),
            "pruned": Mask(server["pruned"][None]),
        }

    def hear(self, held: State, said: State, ctx: Context) -> State:
        pruned = said["pruned"] > 0
        mask = moved(held["mask"], torch.zeros_like(pruned), pruned)
        return {"x": unpacked(said["x"], mask), "mask": mask}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        mask = heard["mask"]
        local = self.train(heard["x"], task, mask)
        cost = Cost.of(task, mask, local.steps, self.momentum)
        return {}, {"dx": Ragged.of(local.change, mask.expand_as(local.change)), **cost.message()}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        mask = server["mask"]
        count = int(mask.sum())
        new = self.stepped(server, placed(inbox.mean("dx", by="one")[None, :count], mask)[0])
        sent = placed(inbox.stack("dx")[:, :count], mask)
        left = self.kept(torch.where(mask, new["x"], 0), mask, ctx.round + 1)
        return {
            **new,
            "x": torch.where(left, new["x"], 0),
            "mask": left,
            "pruned": mask & ~left,
            **self.measured(server["x"] + sent, ctx.layout),
        }
