"""MASHA: a variance-reduced extragradient method for saddle points, with compression both ways."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, sqrt

import torch
from torch import Tensor

from fedsparse.compress import Compressor, Identity, TopK
from fedsparse.message import Dense, Payload
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
class Masha(Strategy):
    """MASHA1 and MASHA2 (Beznosikov, Richtárik, Diskin, Ryabinin, Gasnikov, NeurIPS 2022, arXiv:2110.03313).

    Finds z with F(z) = (1/M) sum_m F_m(z) = 0, F monotone: of a saddle problem F_m = (grad_x g_m, -grad_y g_m), of a
    minimisation the gradient. With γ = ``lr``, 1 - τ = ``sync``, C = ``uplink``, C' = ``downlink``, an anchor w whose
    Fw = F(w) all know, memories e_m (client) and e (server), z = w = start and e_m = e = 0 at first::

        everybody: zh = τ z + (1-τ) w - γ Fw
        client:    v = γ (F_m(zh) - F_m(w)) + e_m;   u_m = C(v);   e_m <- v - u_m;   send u_m
        server:    s = (1/S) sum_S u_m + e;          D = C'(s);    e <- s - D;       say D
        everybody: z <- zh - D
        with probability 1-τ:  w <- z (the new one); all clients send F_m(w), the server says Fw; e_m and e stay

    A compressor that is unbiased (``randk``) has no memory, its e stays 0: that is MASHA1. One that is contractive
    (``topk``) has one: that is MASHA2. Either may be in either direction; for one of each there is no theorem.

    Sent: up u_m; down D and a number; at a synchronisation also F_m(w) up (d values, from all clients) and Fw down.
    The coin is drawn from a stream that all share, and the phase in the envelope says how it fell. z, w and Fw are
    derived from what is said, equal on all clients, and stored once; whoever was away is charged for what it missed,
    or for all that is held. Client state: e_m, and F_m(w) with ``oracle=full``. Limit: the solution.

    ``oracle=minibatch`` is the variance-reduced form for finite sums: F_m of one and the same minibatch at zh and at
    w, two gradients a round, and all examples at the anchor. ``oracle=full`` keeps F_m(w): one gradient over all.
    ``sync`` is by default 1/(1+ω) of an unbiased uplink and δ of a contractive one, both k/d where k entries are kept:
    synchronisations then cost about as much as the rest. (The δ of ``sign`` is 1/d at worst: give 1/32.) With
    ``sync=1`` and no compression it is the extragradient method. Usual steps are between 0.05/L and 0.5/L.

    Departures: γ is inside of the message in MASHA1, too, which changes nothing where C(γ v) = γ C(v); absent clients
    keep their e_m (no theorem for MASHA2 with cohorts), and one whose F_m(w) was refused keeps its last F_m until the
    next synchronisation; there is no h, hence no projection (MASHA2 covers none).
    On networks F is not monotone, and on minimisation it is slower than ``scafcom`` and its like.
    Source: the algorithm boxes were not at hand; anchoring at the old z converges, too.
    """

    uplink_class = "either"
    downlink_class = "either"
    problems = ("operators", "minimisation")
    theory = (
        Theory(
            "optimum",
            {"lr": 0.1, "uplink": TopK(0.25), "oracle": "full"},
            rounds=400,
            within=1e-6,
            rate="linear",
        ),
        Theory(
            "optimum",
            {"lr": 0.3, "uplink": TopK(0.25), "oracle": "full"},
            rounds=600,
            within=1e-6,
            problem="saddle",
            rate="linear",
        ),
    )

    lr: float = option(0.1, "step size γ", above=0)
    sync: float | None = option(
        None, "probability 1-τ of a synchronisation; k/d of the uplink by default", above=0, at_most=1
    )
    oracle: str = option(
        "minibatch", "one minibatch at both points, or all examples", choices=("minibatch", "full")
    )
    uplink: Compressor = TopK(0.01)
    downlink: Compressor = Identity()

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("anchor", "first") if ctx.round == 0 or self.syncs(ctx) else ("step",)

    def syncs(self, ctx: Context) -> bool:
        """The coin of the iteration before this round: whether the anchor moves first."""
        return bool(ctx.shared("sync").random() < self.probability(ctx.layout.size))

    def audience(self, ctx: Context) -> Audience:
        return "all" if ctx.phase == "anchor" else "cohort"

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        x, zero = start.x, torch.zeros_like(start.x)
        if role == "server":
            never = torch.tensor(-2)
            return {"x": x, "w": x, "Fw": zero, "s": zero, "made": never}
        if role == "held":
            return {"z": x[None], "zh": x[None], "w": x[None], "Fw": zero[None]}
        kept = [("e", _remembers(self.uplink, ctx)), ("F", self.oracle == "full")]
        return {name: zero[None] for name, needed in kept if needed}

    def broadcast(self, server: State, ctx: Context) -> Message:
        if ctx.phase == "first":
            return {"Fw": Dense(server["Fw"][None])}
        # Where no message of the last round was accepted there was no iteration, and D is an old one.
        news = server["x"].new_full((1, 1), int(server["made"]) == ctx.round - 1)
        return {"D": self._said(server, ctx), "news": Dense(news, "fp16")}

    def hear(self, held: State, said: State, ctx: Context) -> State:
        if ctx.phase == "first":
            z, w, Fw = held["z"], held["w"], said["Fw"]
        else:
            z = torch.where(said["news"] > 0, held["zh"] - said["D"], held["z"])
            w, Fw = z if ctx.phase == "anchor" else held["w"], held["Fw"]
        return {"z": z, "zh": self._half(z, w, Fw, ctx), "w": w, "Fw": Fw}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        if ctx.phase == "anchor":
            F = task.full_grad(heard["w"])
            return {**client, "F": F} if self.oracle == "full" else client, {"F": Dense(F)}
        change = self._difference(client, heard, task)
        if "e" not in client:
            return client, {"u": self.uplink.compress(change.mul_(self.lr), ctx, "uplink")}
        sent, memory = self.uplink.with_memory(change, client["e"], ctx, "uplink", factor=self.lr, out=change)
        return {**client, "e": memory}, {"u": sent}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        if ctx.phase == "anchor":
            return {**server, "w": server["x"], "Fw": inbox.mean("F", by="one")}
        s = inbox.mean("u", by="one") + self._left(server, ctx)
        made = {**server, "s": s, "made": torch.tensor(ctx.round)}
        zh = self._half(server["x"], server["w"], server["Fw"], ctx)
        return {**made, "x": zh - self._said(made, ctx).dense()[0]}

    def _difference(self, client: State, heard: State, task: Task) -> Tensor:
        """F_m(zh) - F_m(w), ``[C, d]``."""
        if self.oracle == "full":
            return task.full_grad(heard["zh"]) - client["F"]
        return task.grad(heard["zh"]).sub_(task.grad(heard["w"]))

    def _half(self, z: Tensor, w: Tensor, Fw: Tensor, ctx: Context) -> Tensor:
        # Not τ z + (1-τ) w, which rounds where the two are equal.
        return torch.lerp(z, w, self.probability(ctx.layout.size)) - self.lr * Fw

    def _said(self, server: State, ctx: Context) -> Payload:
        """D, the same one each time it is asked for until the next iteration."""
        own = ctx.of_server(int(server["made"]))
        return self.downlink.compress(server["s"][None], own, "downlink")

    def _left(self, server: State, ctx: Context) -> Tensor | float:
        """The server's e, what D left out of s."""
        if not _remembers(self.downlink, ctx):
            return 0.0
        return server["s"] - self._said(server, ctx).dense()[0]

    def probability(self, size: int) -> float:
        """The probability 1-τ, for vectors of ``size`` entries."""
        if self.sync is not None:
            return self.sync
        unbiased = self.uplink.omega(size) is not None
        return self.uplink.damping(size) if unbiased else self.uplink.delta(size) or 1.0

    def communication(self, size: int) -> tuple[Vectors, ...]:
        anchor = Vectors(down_compressed=1, up=1, round=0)
        first = Vectors(down=1, up_compressed=1, round=0)
        step = Vectors(down_compressed=1, up_compressed=1)
        return (anchor, first, step, Vectors(down=1, up=1, probability=self.probability(size)))

    def theory_lr(self, facts: Facts) -> float | None:
        """min(sqrt(1-τ) / (2 C_q), (1-τ) / (2 μ)) for MASHA1, sqrt(1-τ) δ δ' / (2 L_rms) for MASHA2, with all clients.

        C_q² = (1+ω') L_rms² (M + ω) / M, with ω and δ of the uplink, ω' and δ' of the downlink. The first is the
        paper's, from memory; of the second only the order is, its constant was not at hand. None for one of each kind.
        """
        omega, delta = self.downlink.omega(facts.size), self.downlink.delta(facts.size)
        p = self.probability(facts.size)
        if not facts.full:
            return None
        if omega is not None and isfinite(facts.omega):
            c = facts.L_rms * sqrt((1 + omega) * (facts.clients + facts.omega) / facts.clients)
            return min(sqrt(p) / (2 * c), p / (2 * facts.mu) if facts.mu else inf)
        return sqrt(p) * facts.delta * (delta or 0.0) / (2 * facts.L_rms) or None


def _remembers(compressor: Compressor, ctx: Context) -> bool:
    """Whether what the compressor leaves out is kept; of an unbiased one it averages out."""
    return compressor.omega(ctx.layout.size) is None
