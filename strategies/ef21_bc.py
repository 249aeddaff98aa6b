"""EF21-BC: EF21 with compression both ways; clients hold the model and the step, and hear what changes of the step."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedsparse.compress import Compressor, TopK
from fedsparse.message import Dense, Payload
from fedsparse.protocol import Context, Inbox, Message, Role, Start, State, Strategy, Theory, Vectors
from fedsparse.strategies.ef21 import EF21


@dataclass(frozen=True)
class EF21BC(EF21):
    """EF21-BC (Fatkhullin, Sokolov, Gorbunov, Li, Richtárik, 2021, arXiv:2110.03294).

    The clients' part is EF21's, with its names. With C' = ``downlink``, contractive, the server says how the step
    u = γ g changes, g being an estimate of h; x and u are equal on all clients and the server::

        round 0:   clients send h_i = g_i(x) as it is, the server says u = γ h as it is       with ``start=full``
        later:     h <- h + (1/N) sum_i D_i;   say D = C'(γ h - u);   u <- u + D;   x <- x - u

    Sent: down one compressed vector and a number; up as in EF21. What clients hold is derived from what they hear and
    is stored once; whoever was away is charged for what it missed, or for both vectors. Client state: h_i.

    Limit and ``partial``: as of EF21. Departure: γ is inside of C', which is the same while it is constant and
    C'(γ v) = γ C'(v). Unlike the compressed downlink of other strategies (EF21-P), what is left out of a step is never
    made up for: the next step is nearer to h instead.
    """

    downlink_class = "contractive"
    theory = Theory(
        "optimum",
        {"lr": 0.1, "uplink": TopK(0.1), "downlink": TopK(0.1)},
        rounds=300,
        within=1e-8,
        rate="linear",
    )

    theory_lr = Strategy.theory_lr  # the paper's condition was not at hand, and EF21's does not hold

    downlink: Compressor = TopK(0.01)

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("first",) if ctx.round == 1 and self.start == "full" else super().phases(ctx)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        zero = torch.zeros_like(start.x)
        if role == "held":
            return {"x": start.x[None], "u": zero[None]}
        state = super().init(role, start, ctx)
        return {**state, "u": zero, "s": zero, "made": torch.tensor(-2)} if role == "server" else state

    def broadcast(self, server: State, ctx: Context) -> Message:
        if ctx.phase == "start":
            return {}
        # Where no message of the last round was accepted there was no step, and D is an old one.
        news = server["x"].new_full((1, 1), int(server["made"]) == ctx.round - 1)
        change = Dense(server["s"][None]) if ctx.phase == "first" else self._said(server, ctx)
        return {"du": change, "news": Dense(news, "fp16")}

    def hear(self, held: State, said: State, ctx: Context) -> State:
        if ctx.phase == "start":
            return held
        u = held["u"] + said["du"]
        moved = {"x": held["x"] - u, "u": u}
        return {name: torch.where(said["news"] > 0, value, held[name]) for name, value in moved.items()}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        h = server["h"] + inbox.sum("dh") / ctx.population
        made = {**server, "h": h, "s": self.lr * h - server["u"], "made": torch.tensor(ctx.round)}
        change = made["s"] if ctx.phase == "start" else self._said(made, ctx).dense()[0]
        u = server["u"] + change
        return {**made, "u": u, "x": server["x"] - u}

    def _said(self, server: State, ctx: Context) -> Payload:
        """D, the same one each time it is asked for until the next step."""
        return self.downlink.compress(server["s"][None], ctx.of_server(int(server["made"])), "downlink")

    def communication(self, size: int) -> tuple[Vectors, ...]:
        later = Vectors(down_compressed=1, up_compressed=1)
        first = (Vectors(up=1, round=0), Vectors(down=1, up_compressed=1, round=1))
        return (*first, later) if self.start == "full" else (later,)
