"""DIANA: compressed gradient differences, with a memory of each client's gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedsparse.compress import Compressor, RandK
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
class Diana(Strategy):
    """DIANA (Mishchenko, Gorbunov, Takáč, Richtárik 2019, arXiv:1901.09269).

    With γ = ``lr``, α = ``alpha``, an unbiased Q = ``uplink``, memories h_i and h, zero at first, S clients a round of
    N, g_i a gradient of one minibatch::

        client:   send D_i = Q(g_i(x) - h_i);   h_i <- h_i + α D_i       the value that was sent, as decoded
        server:   x <- x - γ (h + (1/S) sum_S D_i)                       the old h; D_i is not damped here
                  h <- h + α (1/N) sum_S D_i                             h stays the mean of all h_i

    Sent: down x (d values); up one compressed vector. Client state: h_i. Limit: the optimum; where gradients are noisy,
    a neighbourhood. α is 1 / (1 + ω) by default, the largest that the theory allows; γ is at most about
    1 / (L + 6 ω L_max / N).

    ``partial=true`` lets fewer clients take part than there are. An absent client keeps its h_i, and the rule above is
    Artemis's for partial participation (PP2; Philippenko and Dieuleveut 2020, arXiv:2006.14591). DIANA's own theory
    has all clients in every round.

    Both ways: with a compressed downlink the server sends C(x - z) and clients start from z <- z + C(x - z). That is
    EF21-P + DIANA (Gruntkowska, Tyurin, Richtárik, ICML 2023, arXiv:2209.15218), and DORE with η = β = 1 (Liu, Li,
    Tang, Yan, AISTATS 2020, arXiv:1910.07561). Artemis's own downlink, which has no memory, is not here.

    Departures: no momentum and no proximal step; Q works on the whole vector, not on blocks of it.
    """

    uplink_class = "unbiased"
    participation = "full"
    theory = Theory("optimum", {"lr": 0.1, "uplink": RandK(0.1)}, rounds=600, within=1e-6, rate="linear")

    lr: float = option(0.1, "step size γ", above=0)
    alpha: float | None = option(
        None, "step α of the memories; 1/(1+ω) of the uplink by default", above=0, at_most=1
    )
    partial: bool = option(False, "allow smaller cohorts: Artemis's variant")
    uplink: Compressor = RandK(0.01)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        zero = torch.zeros_like(start.x)
        return {"x": start.x, "h": zero} if role == "server" else {"h": zero[None]}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": Dense(server["x"][None])}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        sent = self.uplink.compress(task.grad(heard["x"], less=client["h"]), ctx, "uplink")
        return {"h": sent.added_to(client["h"], self._alpha(ctx))}, {"dh": sent}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return {
            "x": server["x"] - self.lr * (server["h"] + inbox.mean("dh", by="one")),
            "h": server["h"] + self._alpha(ctx) / ctx.population * inbox.sum("dh"),
        }

    def _alpha(self, ctx: Context) -> float:
        return self.uplink.damping(ctx.layout.size) if self.alpha is None else self.alpha

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(down=1, up_compressed=1),)

    def theory_lr(self, facts: Facts) -> float | None:
        """1 / (L + 6 ω L_max / N), for α <= 1 / (1 + ω) and all clients in every round.

        Mishchenko et al. 2019 in the form of Gorbunov, Hanzely, Richtárik (AISTATS 2020, arXiv:1905.11261).
        """
        if not facts.full or (self.alpha is not None and self.alpha > facts.damping):
            return None
        return 1 / (facts.L + 6 * facts.omega * facts.L_max / facts.clients)
