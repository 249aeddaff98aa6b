"""EF21-SGDM: EF21 that tracks a moving average of each client's gradients, so that their noise averages out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.compress import TopK
from fedsparse.options import option
from fedsparse.protocol import Context, Facts, Message, Role, Start, State, Task, Theory
from fedsparse.strategies.ef21 import EF21


@dataclass(frozen=True)
class EF21SGDM(EF21):
    """EF21-SGDM (Fatkhullin, Tyurin, Richtárik, NeurIPS 2023, arXiv:2305.15155).

    EF21 with β = ``beta`` and averages v_i of the client's minibatch gradients g_i::

        round 0:   v_i <- g_i(x);   h_i <- g_i(x);   send h_i as it is       ``start=full``; otherwise both 0 at first
        later:     v_i <- (1-β) v_i + β g_i(x);   D_i = C(v_i - h_i);   h_i <- h_i + D_i;   send D_i
        server:    as in EF21

    Sent: as in EF21. Client state: h_i and v_i. β = 1 is EF21 with stochastic gradients; γ = ``lr`` must shrink with β.
    Limit: the optimum with exact gradients; with noise a floor that falls with β and with N.
    ``partial``: absentees keep their h_i and v_i. Departure: the paper takes a large first minibatch for v_i and h_i;
    here it is one like the others.
    """

    theory = Theory(
        "optimum", {"lr": 0.1, "beta": 0.3, "uplink": TopK(0.1)}, rounds=400, within=1e-6, rate="linear"
    )

    beta: float = option(0.1, "momentum weight β of the newest gradient", above=0, at_most=1)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        state = super().init(role, start, ctx)
        return state if role == "server" else {**state, "v": torch.zeros_like(start.x)[None]}

    def first(self, gradient: Tensor) -> State:
        return {"h": gradient, "v": gradient}

    def track(self, client: State, x: Tensor, task: Task, ctx: Context) -> tuple[State, Message]:
        gradient = task.grad(x)
        v = torch.lerp(client["v"], gradient, self.beta, out=gradient)
        sent = self.uplink.compress_sum(v, client["h"], -1.0, ctx, "uplink")
        return {"h": sent.added_to(client["h"]), "v": v}, {"dh": sent}

    def theory_lr(self, facts: Facts) -> float | None:
        """min(δ / (20 L_rms), β / (7 L)), for all clients in every round.

        The paper's condition, from memory.
        """
        return min(facts.delta / (20 * facts.L_rms), self.beta / (7 * facts.L)) if facts.full else None
