"""EC-SGD (EF14): distributed SGD with error feedback, one compressed gradient a round."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.compress import Compressor, TopK
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
class ECSGD(Strategy):
    """EC-SGD, also called EF14 or EF-SGD (Seide et al., Interspeech 2014; Karimireddy et al., ICML 2019,
    arXiv:1901.09847; with many clients Stich & Karimireddy, JMLR 2020, arXiv:1909.05350).

    With γ = ``lr``, a contractive C = ``uplink`` (top-k), e_i = ``memory`` of a client, zero at first, N clients, one
    minibatch gradient g_i a round::

        client:   u_i = C(e_i - γ g_i(x));   e_i <- e_i - γ g_i(x) - u_i;   send u_i         γ inside: it may vary
        server:   x <- x + (1/N) sum_i u_i

    The papers keep -e_i. Sent: down x; up one compressed vector. Client state: e_i. The point x + (1/N) sum_i e_i moves
    by plain SGD with all the gradients. ``fed_ef`` is this with local steps, and steps along the mean of the cohort.

    Limit: exact where clients are alike, otherwise a floor proportional to the step size. ``partial``: a variant for
    smaller cohorts: absentees keep their e_i, and S clients of N take S/N of a step.

    ``downlink=topk`` makes it DoubleSqueeze (Tang, Yu, Lian, Zhang, Liu, ICML 2019, arXiv:1905.05957): the server says
    C(x - z), z being what clients hold, so that x - z is its memory, and gradients are taken at z.
    """  # noqa: D205 - the citation does not fit one line

    uplink_class = "contractive"
    participation = "full"
    theory = Theory("neighbourhood", {"lr": 0.1, "uplink": TopK(0.1)}, rounds=300, within=1e-2)

    lr: float = option(0.2, "step size γ", above=0)
    partial: bool = option(False, "allow smaller cohorts: a variant without the theory")
    uplink: Compressor = TopK(0.01)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x} if role == "server" else {"memory": torch.zeros_like(start.x)[None]}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": Dense(server["x"][None])}

    def gradient(self, x: Tensor, task: Task) -> Tensor:
        """What the clients step along from ``x [1, d]``, ``[C, d]``."""
        return task.grad(x)

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        gradient = self.gradient(heard["x"], task)
        sent, memory = self.uplink.with_memory(
            gradient, client["memory"], ctx, "uplink", factor=-self.lr, out=gradient
        )
        return {"memory": memory}, {"dx": sent}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return {"x": server["x"] + inbox.sum("dx") / ctx.population}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(down=1, up_compressed=1),)

    def theory_lr(self, facts: Facts) -> float | None:
        """δ / (4 L_max), for all clients in every round: of the order δ/L of the theory of error feedback.

        For one client: x plus the memory moves by exact gradients, and the squared memories sum to at most (2 γ/δ)²
        times those of the gradients, so that γ <= δ/(3 L) descends. L_max and 4 are for several clients.
        """
        return facts.delta / (4 * facts.L_max) if facts.full else None
