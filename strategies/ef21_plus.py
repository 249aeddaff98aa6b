"""EF21+: EF21 whose clients compress the gradient itself in rounds where that is nearer to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.compress import TopK
from fedsparse.message import Dense, Payload, concatenate
from fedsparse.protocol import Context, Inbox, Message, Role, Start, State, Task, Theory
from fedsparse.strategies.ef21 import EF21


@dataclass(frozen=True)
class EF21Plus(EF21):
    """EF21+ (Richtárik, Sokolov, Fatkhullin, NeurIPS 2021, arXiv:2106.05203).

    As EF21, and with its names, but for what a client sends after the first round::

        client:   m = h_i + C(g_i(x) - h_i),   b = C(g_i(x));   h_i <- b if ||b - g_i(x)|| < ||m - g_i(x)||, else m
                  send C(g_i(x)) or C(g_i(x) - h_i), and which of the two it is: ``fresh`` is 1 or 0
        server:   knows every h_i;   h <- (1/N) sum_i h_i;   x <- x - γ h

    Sent: down x; up one compressed vector and one number (of 2 bytes, with 3 bytes of header). Client state: h_i. Where
    a client starts afresh, its old h_i must leave the mean, so the server keeps all of them, ``clients`` ``[N, d]``.

    Limit and ``partial``: as of EF21. The theory is for deterministic C. A random C draws twice, independently.
    """

    theory = Theory("optimum", {"lr": 0.1, "uplink": TopK(0.1)}, rounds=200, within=1e-8, rate="linear")

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        state = super().init(role, start, ctx)
        if role == "server":
            return {**state, "clients": start.x.new_zeros(ctx.registered, start.x.numel())}
        return state

    def track(self, client: State, x: Tensor, task: Task, ctx: Context) -> tuple[State, Message]:
        gradient = task.grad(x)
        change = gradient - client["h"]
        whole = self.uplink.compress(gradient, ctx, "fresh")
        part = self.uplink.compress(change, ctx, "uplink")
        missed = torch.linalg.vector_norm(part.left_of(change), dim=1)
        fresh = torch.linalg.vector_norm(whole.left_of(gradient), dim=1) < missed
        rows = torch.arange(len(fresh)) + torch.where(fresh, 0, len(fresh))
        sent, flag = concatenate([whole, part]).select(rows), fresh[:, None].to(gradient.dtype)
        return {"h": _moved(client["h"], sent, fresh)}, {"dh": sent, "fresh": Dense(flag, "fp16")}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        table, left = server["clients"], torch.zeros_like(server["h"])
        everybody = len(inbox.senders) == len(table)  # then nothing is copied to and fro
        old = table if everybody else table[inbox.senders]
        if ctx.phase == "train":
            flag = inbox.stack("fresh")
            chosen = flag[:, 0] > 0
            Dense(old[chosen]).accumulate(left, flag[chosen, 0])
        else:
            chosen = torch.zeros(len(old), dtype=torch.bool)
        h = server["h"] + (inbox.sum("dh") - left) / ctx.population
        new = _moved(old, inbox.payload("dh"), chosen)
        clients = new if everybody else table.index_copy(0, inbox.senders, new)
        return {"x": server["x"] - self.lr * h, "h": h, "clients": clients}


def _moved(h: Tensor, sent: Payload, fresh: Tensor) -> Tensor:
    """The estimates ``h [C, d]`` and what was sent for them; that alone where ``fresh [C]``."""
    moved = sent.added_to(h)
    moved[fresh] = sent.select(fresh).dense()
    return moved
