"""EF21: each client sends the compressed change of its gradient; the server adds the changes up."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.compress import Compressor, TopK
from fedsparse.message import Dense
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
class EF21(Strategy):
    """EF21 (Richtárik, Sokolov, Fatkhullin, NeurIPS 2021, arXiv:2106.05203).

    With γ = ``lr``, a contractive C = ``uplink`` (top-k), estimates h_i of the clients' gradients (the paper's g_i) and
    their mean h, N clients, one minibatch gradient g_i a round::

        round 0:   h_i <- g_i(x);   send h_i as it is                    with ``start=full``; otherwise h_i = 0 at first
        later:     D_i = C(g_i(x) - h_i);   h_i <- h_i + D_i;   send D_i   the value that was sent, as decoded
        server:    h <- h + (1/N) sum_i D_i (or h_i);   x <- x - γ h      with the new h

    Sent: down x; up one compressed vector, in round 0 d values from every client. Client state: h_i.
    With ``start=zero`` the first message is C(g_i), the paper's other initialisation.

    Limit: the optimum with exact gradients; with noise a floor that does not fall with N (Fatkhullin, Tyurin,
    Richtárik, NeurIPS 2023): see ``ef21_sgdm`` and ``econtrol``. Theory has all clients in every round. ``partial`` is
    a variant for smaller cohorts: those who are absent keep their h_i, and the server divides by N all the same.
    """

    uplink_class = "contractive"
    participation = "full"
    theory = Theory("optimum", {"lr": 0.1, "uplink": TopK(0.1)}, rounds=200, within=1e-8, rate="linear")

    lr: float = option(0.2, "step size γ", above=0)
    start: str = option("full", "first h_i: gradients, sent as they are, or zero", choices=("full", "zero"))
    partial: bool = option(False, "allow smaller cohorts: a variant without the theory")
    uplink: Compressor = TopK(0.01)

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("start",) if ctx.round == 0 and self.start == "full" else ("train",)

    def audience(self, ctx: Context) -> Audience:
        return "all" if ctx.phase == "start" else "cohort"

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        zero = torch.zeros_like(start.x)
        return {"x": start.x, "h": zero} if role == "server" else {"h": zero[None]}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": Dense(server["x"][None])}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        if ctx.phase == "start":
            gradient = task.grad(heard["x"])
            return {**client, **self.first(gradient)}, {"dh": Dense(gradient)}
        return self.track(client, heard["x"], task, ctx)

    def first(self, gradient: Tensor) -> State:
        """What the first gradients ``[C, d]`` are kept as."""
        return {"h": gradient}

    def track(self, client: State, x: Tensor, task: Task, ctx: Context) -> tuple[State, Message]:
        """Brings the estimates nearer to the gradients at ``x [1, d]``."""
        return self.send(client, task.grad(x, less=client["h"]), ctx)

    def send(self, client: State, change: Tensor, ctx: Context) -> tuple[State, Message]:
        """Sends what it can of the ``change [C, d]`` that the estimates lack."""
        sent = self.uplink.compress(change, ctx, "uplink")
        return {"h": sent.added_to(client["h"])}, {"dh": sent}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        h = server["h"] + inbox.sum("dh") / ctx.population
        return {"x": server["x"] - self.lr * h, "h": h}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        later = Vectors(down=1, up_compressed=1)
        return (Vectors(down=1, up=1, round=0), later) if self.start == "full" else (later,)

    def theory_lr(self, facts: Facts) -> float | None:
        """1 / (L + L_rms sqrt(b/θ)), with θ = 1 - sqrt(1-δ) and b = (1-δ)/θ, for all clients in every round.

        The paper's condition. A compressor that is not contractive has none.
        """
        return 1 / (facts.L + facts.L_rms * facts.xi) if facts.full else None
