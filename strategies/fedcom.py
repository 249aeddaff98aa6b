"""FedCOM: federated averaging with quantised updates and a step size of its own for the server."""

from __future__ import annotations

from dataclasses import dataclass

from fedsparse.compress import QSGD, Compressor
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
class FedCOM(Strategy):
    """FedCOM (Haddadpour, Kamani, Mokhtari, Mahdavi, AISTATS 2021, arXiv:2007.01154), for clients that are alike.

    With K = ``steps``, η = ``lr``, γ = ``server_lr``, an unbiased Q = ``uplink``, S clients a round::

        client:   y_i = x;   K times:  y_i <- y_i - η g_i(y_i);   send Q(D_i),  D_i = (x - y_i) / η
        server:   x <- x - η γ (1/S) sum_S Q(D_i)

    Sent: down x (d values); up one compressed vector. Clients keep no state.
    Limit: a distance. Where clients differ D_i does not vanish, and neither does the noise of Q: see ``fedcomgate``.
    With γ = 1 it is FedPAQ with a constant step. Departures: none known.
    """

    uplink_class = "unbiased"
    theory = Theory("neighbourhood", {"lr": 0.02, "steps": 5}, rounds=300, within=1e-2)

    lr: float = option(0.2, "local step size η", above=0)
    server_lr: float = option(1.0, "server step size γ", above=0)
    steps: int = option(5, "local steps K of every client", at_least=1)
    uplink: Compressor = QSGD(16)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x} if role == "server" else {}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": Dense(server["x"][None])}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        local = task.sgd(heard["x"], lr=self.lr, steps=self.steps)
        return {}, {"dx": self.uplink.compress(local.change.div_(-self.lr), ctx, "uplink")}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return {"x": server["x"] - self.lr * self.server_lr * inbox.mean("dx", by="one")}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(down=1, up_compressed=1),)

    def theory_lr(self, facts: Facts) -> float | None:
        """1 / (K γ L_max (1 + 2 ω / S)), FedAvg's, and at most 1 / L_max.

        Derived there; the paper's own condition is of the same order.
        """
        slope = self.steps * self.server_lr * (1 + 2 * facts.omega / facts.cohort)
        return 1 / (max(slope, 1.0) * facts.L_max)
