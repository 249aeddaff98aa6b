"""SCAFCOM: SCAFFOLD with local momentum and one message through any contractive compressor."""

from __future__ import annotations

from dataclasses import dataclass

import torch

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
class Scafcom(Strategy):
    """SCAFCOM (Huang, Li, Li, ICLR 2024, arXiv:2308.08165).

    With K = ``steps``, η_l = ``lr``, η_g = ``server_lr``, β = ``beta``, a contractive C = ``uplink`` (top-k), control
    variates c_i and c and momenta v_i, zero at first, S clients a round of N::

        client:   y_i = x;   K times:  y_i <- y_i - η_l (g_i(y_i) - c_i + c)
                  v_i <- (1-β) v_i + β ((x - y_i) / (η_l K) + c_i - c)      the mean of the K gradients; the old c_i
                  send C(v_i - c_i);   c_i <- c_i + C(v_i - c_i)            the value that was sent, as decoded
        server:   x <- x - η_g η_l K ((1/S) sum_S C(v_i - c_i) + c)         with the old c
                  c <- c + (1/N) sum_S C(v_i - c_i)                         1/N, not 1/S: c stays the mean of all c_i

    Sent: down x and c (2d values); up one compressed vector. Client state: c_i, v_i. Limit: the optimum.

    β = 1 is fine without gradient noise, 0.1 to 0.5 with it; few clients a round of many want a smaller ``server_lr``.
    η_l η_g K is EF21-SGDM's step, which this is with K = 1 and S = N (stepping after the update of the estimates).

    Source: as for ``scallion``; the algorithm boxes were not at hand.
    """

    uplink_class = "contractive"
    theory = Theory(
        "optimum",
        {"lr": 0.02, "steps": 5, "beta": 0.5, "uplink": TopK(0.1)},
        rounds=300,
        within=1e-8,
        rate="linear",
    )

    lr: float = option(0.2, "local step size η_l", above=0)
    server_lr: float = option(1.0, "server step size η_g", above=0)
    steps: int = option(5, "local steps K of every client", at_least=1)
    beta: float = option(0.2, "momentum weight β of the newest gradients", above=0, at_most=1)
    uplink: Compressor = TopK(0.01)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        zero = torch.zeros_like(start.x)
        return {"x": start.x, "c": zero} if role == "server" else {"c": zero[None], "v": zero[None]}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": Dense(server["x"][None]), "c": Dense(server["c"][None])}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        local = task.sgd(heard["x"], lr=self.lr, steps=self.steps, shift=heard["c"], control=client["c"])
        v = torch.lerp(client["v"], local.mean_grad, self.beta, out=local.mean_grad)
        sent = self.uplink.compress_sum(v, client["c"], -1.0, ctx, "uplink")
        return {"c": sent.added_to(client["c"]), "v": v}, {"dc": sent}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        direction = inbox.mean("dc", by="one") + server["c"]
        return {
            "x": server["x"] - self.server_lr * self.lr * self.steps * direction,
            "c": server["c"] + inbox.sum("dc") / ctx.population,
        }

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(down=2, up_compressed=1),)

    def theory_lr(self, facts: Facts) -> float | None:
        """(S/N) min(δ / (20 L_rms), β / (7 L)) / (K η_g), and at most 1 / L_max.

        With K = 1 and S = N it is EF21-SGDM (Fatkhullin et al. 2023; the constants from memory). With K > 1, L is
        L_max; that and the factor S/N are rules of thumb, the constants of SCAFCOM's own theory were not at hand.
        """
        L = facts.L if self.steps == 1 else facts.L_max
        step = min(facts.delta / (20 * facts.L_rms), self.beta / (7 * L))
        share = facts.cohort / facts.clients
        return min(share * step / (self.steps * self.server_lr), 1 / facts.L_max)
