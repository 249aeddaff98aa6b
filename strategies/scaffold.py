"""SCAFFOLD: control variates that take the clients' drift out of local steps."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch

from fedsparse.compress import Compressor, Identity
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import (
    Context,
    Facts,
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


@dataclass(frozen=True)
class Scaffold(Strategy):
    """SCAFFOLD (Karimireddy, Kale, Mohri, Reddi, Stich, Suresh, ICML 2020, arXiv:1910.06378).

    With K = ``steps``, η_l = ``lr``, η_g = ``server_lr``, control variates c_i (client) and c (server), all zero at
    first, S clients a round of N::

        client:   y_i = x;   K times:  y_i <- y_i - η_l (g_i(y_i) - c_i + c)
                  c_i⁺ = g_i(x) over all examples                (``variant=1``)
                  c_i⁺ = c_i - c + (x - y_i) / (K η_l)           (``variant=2``: the mean of the K gradients)
                  send C(y_i - x),  c_i⁺ - c_i
        server:   x <- x + η_g (1/S) sum_S C(y_i - x)
                  c <- c + (1/N) sum_S (c_i⁺ - c_i)              1/N, not 1/S: c stays the mean of all c_i

    Sent: down x and c (2d values); up one vector through ``uplink`` and one dense (2d values without compression).
    Client state: c_i, and the compressor's memory unless nothing is left out (δ = 1). Limit: the optimum.

    Departure: a contractive ``uplink`` with error feedback on the model change (``memory``); the paper has none, nor
    is there a memory with ``uplink=identity``.
    """

    uplink_class = "contractive"
    theory = Theory("optimum", {"lr": 0.02, "steps": 5}, rounds=600, within=1e-6, rate="linear")

    lr: float = option(0.2, "local step size η_l", above=0)
    server_lr: float = option(1.0, "server step size η_g", above=0)
    steps: int = option(5, "local steps K of every client", at_least=1)
    variant: int = option(2, "rule of the new control variate, the paper's option I or II", choices=(1, 2))
    uplink: Compressor = Identity()

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        zero = torch.zeros_like(start.x)
        if role == "server":
            return {"x": start.x, "c": zero}
        exact = self.uplink.delta(len(zero)) == 1
        return {"c": zero[None]} if exact else {"c": zero[None], "memory": zero[None]}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": Dense(server["x"][None]), "c": Dense(server["c"][None])}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        x, c = heard["x"], heard["c"]
        local = task.sgd(x, lr=self.lr, steps=self.steps, shift=c, control=client["c"])
        c_new = local.mean_grad if self.variant == 2 else task.full_grad(x)
        dc = c_new - client["c"]
        # By variant 2 they say the same, and a sum takes less than the change of all steps.
        change = torch.add(dc, c).mul_(-self.lr * local.steps) if self.variant == 2 else local.change
        news = {"dc": Dense(dc)}
        if "memory" not in client:
            return {"c": c_new}, {"dx": self.uplink.compress(change, ctx, "uplink"), **news}
        sent, memory = self.uplink.with_memory(change, client["memory"], ctx, "uplink", out=change)
        return {"c": c_new, "memory": memory}, {"dx": sent, **news}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return {
            "x": server["x"] + self.server_lr * inbox.mean("dx", by="one"),
            "c": server["c"] + inbox.sum("dc") / ctx.population,
        }

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(down=2, up=1, up_compressed=1),)

    def theory_lr(self, facts: Facts) -> float | None:
        """min(1 / (81 L_max), S / (15 μ N)) / (K max(η_g, 1)), for an uncompressed uplink.

        The paper's condition for strongly convex losses, from memory; it is cautious. None with a compressor, which the
        paper does not have.
        """
        if not facts.exact:
            return None
        share = facts.cohort / facts.clients
        convex = share / (15 * facts.mu) if facts.mu else inf
        return min(1 / (81 * facts.L_max), convex) / (self.steps * max(self.server_lr, 1.0))
