"""MARINA: compressed differences of gradients along the way, and now and then a dense synchronisation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

import torch

from fedsparse.compress import Compressor, RandK
from fedsparse.message import Dense, Scalars
from fedsparse.options import option
from fedsparse.protocol import (
    Audience,
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
class Marina(Strategy):
    """MARINA, VR-MARINA and PP-MARINA (Gorbunov, Burlachenko, Li, Richtárik, ICML 2021, arXiv:2102.07845).

    With γ = ``lr``, p = ``sync``, an unbiased Q = ``uplink``, x⁻ the point before x, S clients a round of N, and one
    coin for all, which is heads with probability p, and always in the first round::

        heads:  client:  send ∇f_i(x) over all its examples, dense            all N clients
                server:  g <- (1/N) sum_i ∇f_i(x)
        tails:  client:  send D_i = Q(g_i(x) - g_i(x⁻))                        one minibatch, at both points
                server:  g <- g + (1/S) sum_S D_i
        both:   server:  x <- x - γ g

    Sent: down x (d values) and t, the number of steps that the server took, and to who was away x⁻, too; up one
    compressed vector on tails (phase ``step``), d values on heads (phase ``sync``).
    Client state: none; all clients hold x and x⁻ alike. Limit: the optimum; g is exact after each synchronisation.
    p is 1 / (1 + ω) by default, for rand-k the share k/d, so that synchronisations cost as many bytes as all other
    rounds together; γ is at most 1 / (L (1 + sqrt((1-p) ω / (p N)))).

    The coin is drawn from the run's seed and the round, so that nobody has to be told. With minibatches it is
    VR-MARINA, with all of a client's examples in each (``batch=0``) MARINA, and with small cohorts PP-MARINA, for which
    the paper takes p smaller by S/N. With a compressed downlink x and x⁻ are what clients know of them; the theory does
    not cover that.

    Departures: the paper's iteration ends with the estimate g, here a round ends with the step that uses it, and the
    points x are the same; a small cohort is drawn without replacement.
    """

    uplink_class = "unbiased"
    theory = Theory("optimum", {"lr": 0.1, "uplink": RandK(0.25)}, rounds=600, within=1e-6, rate="linear")

    lr: float = option(0.1, "step size γ", above=0)
    sync: float | None = option(
        None, "probability p of a synchronisation; 1/(1+ω) of the uplink by default", above=0, at_most=1
    )
    uplink: Compressor = RandK(0.01)

    def phases(self, ctx: Context) -> tuple[str, ...]:
        heads = ctx.round == 0 or ctx.shared("coin").random() < self.probability(ctx.layout.size)
        return ("sync",) if heads else ("step",)

    def probability(self, size: int) -> float:
        """The probability p, for vectors of ``size`` entries."""
        return self.uplink.damping(size) if self.sync is None else self.sync

    def audience(self, ctx: Context) -> Audience:
        return "all" if ctx.phase == "sync" else "cohort"

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        t = torch.zeros(1, dtype=torch.float64)
        if role == "server":
            return {"x": start.x, "g": torch.zeros_like(start.x), "t": t}
        return {"x": start.x[None], "before": start.x[None], "t": t[None]} if role == "held" else {}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": Dense(server["x"][None]), "t": Scalars(server["t"][None])}

    def hear(self, held: State, said: State, ctx: Context) -> State:
        # A server that heard nobody took no step, and its g still belongs to the point before.
        stepped = not said["t"].equal(held["t"])
        return {"x": said["x"], "before": held["x" if stepped else "before"], "t": said["t"]}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        if ctx.phase == "sync":
            return {}, {"g": Dense(task.full_grad(heard["x"]))}
        change = task.grad(heard["x"])
        change -= task.grad(heard["before"])
        return {}, {"dg": self.uplink.compress(change, ctx, "uplink")}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        g = inbox.mean("g", by="one") if ctx.phase == "sync" else server["g"] + inbox.mean("dg", by="one")
        return {"x": server["x"] - self.lr * g, "g": g, "t": server["t"] + 1}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        p, full = self.probability(size), Vectors(down=1, up=1)
        tails = Vectors(down=1, up_compressed=1, probability=1 - p)
        return (replace(full, round=0), tails, replace(full, probability=p))

    def theory_lr(self, facts: Facts) -> float | None:
        """1 / (L + L_rms sqrt((1-p) ω / (p N))); with S < N clients 1 + ω for ω and S for N.

        Theorems 2.1 and 4.1 of the paper, from memory.
        """
        p = self.probability(facts.size)
        noise = facts.omega if facts.full else 1 + facts.omega
        return 1 / (facts.L + facts.L_rms * sqrt((1 - p) * noise / (p * facts.cohort)))
