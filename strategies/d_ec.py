"""D-EC: error compensation with a bias correction, for which each client sends a second message."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedsparse.compress import TopK
from fedsparse.options import option
from fedsparse.protocol import (
    Context,
    Inbox,
    Message,
    Role,
    Start,
    State,
    Strategy,
    Task,
    Theory,
    Vectors,
)
from fedsparse.strategies.ef21 import EF21


@dataclass(frozen=True)
class DEC(EF21):
    """D-EC, error compensation with bias correction (Stich, 2020, arXiv:2009.02388).

    With γ = ``lr``, α = ``alpha``, a contractive C = ``uplink`` (top-k), e_i = ``memory`` of a client, zero at first,
    estimates h_i of the clients' gradients and their mean h, N clients, one minibatch gradient g_i a round::

        round 0:   h_i <- g_i(x);   send h_i as it is;   the server steps along h    ``start=full``; or h_i = 0 at first
        later:     D_i = C(e_i + g_i(x) - h_i);   q_i = C(g_i(x) - h_i);   send D_i and q_i
                   e_i <- e_i + g_i(x) - h_i - D_i;   h_i <- h_i + α q_i      with the old h_i; D_i and q_i as decoded
        server:    x <- x - γ (h + (1/N) sum_i D_i)                           with the old h
                   h <- h + (α/N) sum_i q_i

    Sent: down x; up two compressed vectors, twice EControl's. Client state: h_i and e_i. The two draw their random
    numbers apart. The point x - γ (1/N) sum_i e_i moves by plain SGD with all the gradients.

    Limit: the optimum with exact gradients. ``partial``: a variant for smaller cohorts: absentees keep h_i and e_i.
    Departure: one compressor for both messages.
    """

    theory = Theory("optimum", {"lr": 0.1, "uplink": TopK(0.1)}, rounds=400, within=1e-6, rate="linear")

    theory_lr = Strategy.theory_lr  # its condition was not at hand, and EF21's is not for it

    alpha: float = option(1.0, "step α of the estimates h_i", above=0, at_most=1)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        state = super().init(role, start, ctx)
        return state if role == "server" else {**state, "memory": torch.zeros_like(start.x)[None]}

    def track(self, client: State, x: Tensor, task: Task, ctx: Context) -> tuple[State, Message]:
        change = task.grad(x, less=client["h"])
        learned = self.uplink.compress(change, ctx, "estimate")
        sent, memory = self.uplink.with_memory(change, client["memory"], ctx, "uplink")
        h = learned.added_to(client["h"], self.alpha)
        return {"h": h, "memory": memory}, {"dg": sent, "dh": learned}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        if ctx.phase == "start":
            return super().aggregate(server, inbox, ctx)
        direction = server["h"] + inbox.sum("dg") / ctx.population
        return {
            "x": server["x"] - self.lr * direction,
            "h": server["h"] + self.alpha / ctx.population * inbox.sum("dh"),
        }

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return tuple(
            replace(sent, up_compressed=2 * sent.up_compressed) for sent in super().communication(size)
        )
