"""FedAvg with error feedback: what the compressor left out is added to the next message."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedsparse.compress import Compressor, TopK
from fedsparse.protocol import Context, Facts, Message, Role, Start, State, Task, Theory
from fedsparse.strategies.fedavg import FedAvg


@dataclass(frozen=True)
class FedEF(FedAvg):
    """Fed-EF: EF14 on the model change (Seide et al., Interspeech 2014; Karimireddy et al., ICML 2019,
    arXiv:1901.09847; with local steps Li & Li, ICML 2023, arXiv:2211.14292).

    With e_i = ``memory`` of a client, zero at first, and a contractive C = ``uplink``::

        client:   y_i as in FedAvg;   u_i = C(e_i + y_i - x);   e_i <- e_i + (y_i - x) - u_i;   send u_i
        server:   x <- x + η_g sum_i p_i u_i

    A client that is not drawn keeps its e_i, however old. Sent: down x; up k entries. Client state: 1 vector.
    Limit: exact when clients are alike, otherwise a floor proportional to the step size. Departure: none known; the
    paper's adaptive server (Fed-EF-AMS) is not here.
    """  # noqa: D205 - the citation does not fit one line

    uplink_class = "contractive"
    theory = Theory("neighbourhood", {"lr": 0.02, "steps": 5, "uplink": TopK(0.1)}, rounds=300, within=1e-2)

    uplink: Compressor = TopK(0.01)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x} if role == "server" else {"memory": torch.zeros_like(start.x)[None]}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        change = self.train(heard["x"], task).change
        sent, memory = self.uplink.with_memory(change, client["memory"], ctx, "uplink", out=change)
        return {"memory": memory}, {"dx": sent}

    def theory_lr(self, facts: Facts) -> float | None:
        """δ (1-β) / (4 K η_g L_max), and at most (1-β) / L_max.

        Of the order δ/L of the theory of error feedback. For one client and K = 1: x plus the memory moves by exact
        gradients, and the squared memories sum to at most (2 γ/δ)² times those of the gradients, so that γ <= δ/(3 L)
        descends. L_max and 4 are for several clients and local steps.
        """
        if self.epochs is not None:
            return None
        L = facts.L_max + self.weight_decay
        return (1 - self.momentum) * min(facts.delta / (4 * self.steps * self.server_lr), 1.0) / L
