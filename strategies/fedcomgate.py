"""FedCOMGATE: FedCOM with local gradient tracking, so that clients may differ."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedsparse.compress import Compressor, Natural
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Context, Inbox, Message, Role, Start, State, Strategy, Task, Theory, Vectors


@dataclass(frozen=True)
class FedCOMGATE(Strategy):
    """FedCOMGATE (Haddadpour, Kamani, Mokhtari, Mahdavi, AISTATS 2021, arXiv:2007.01154).

    With K = ``steps``, η = ``lr``, γ = ``server_lr``, an unbiased Q = ``uplink``, S clients a round of N, and
    δ_i = c_i - c, where c_i and c are zero at first::

        client:   y_i = x;   K times:  y_i <- y_i - η (g_i(y_i) - δ_i);   send Q(D_i),  D_i = (x - y_i) / η
                  c_i <- c_i + Q(D_i) / K                        the value that was sent, as decoded
        server:   x <- x - η γ (1/S) sum_S Q(D_i)
                  c <- c + (1/N) sum_S Q(D_i) / K                c stays the mean of all c_i, so sum_i δ_i = 0

    The paper's client has δ_i itself and does δ_i <- δ_i + (Q(D_i) - mean of all Q(D_j)) / K once the server has sent
    that mean. Here δ_i is in two halves: c_i takes effect when the client's message was accepted, and c is sent with x.
    So sum_i δ_i = 0 also where messages are lost, and who did not hear of a mean has not missed it for good.

    c moves as far as x does, so that a compressed downlink slows it down more than SCAFFOLD.

    Sent: down x and c (2d values; in the paper x and the mean); up one compressed vector. Client state: c_i.
    Limit: the optimum, if ω < 1: an error e of δ_i becomes e - Q(e). ``natural`` has ω = 1/8, ``qsgd`` needs more than
    sqrt(d) levels, ``randk`` more than half of the entries; with others δ_i may grow until the run diverges.

    ``partial=true`` lets fewer clients take part than there are, which is a variant: an absent client keeps its c_i.
    The paper has all clients in every round. Departures: none known otherwise.
    """

    uplink_class = "unbiased"
    participation = "full"
    theory = Theory("optimum", {"lr": 0.02, "steps": 5}, rounds=300, within=1e-6, rate="linear")

    lr: float = option(0.2, "local step size η", above=0)
    server_lr: float = option(1.0, "server step size γ", above=0)
    steps: int = option(5, "local steps K of every client", at_least=1)
    partial: bool = option(False, "allow smaller cohorts: a variant without the theory")
    uplink: Compressor = Natural()

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        zero = torch.zeros_like(start.x)
        return {"x": start.x, "c": zero} if role == "server" else {"c": zero[None]}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": Dense(server["x"][None]), "c": Dense(server["c"][None])}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        local = task.sgd(heard["x"], lr=self.lr, steps=self.steps, shift=heard["c"], control=client["c"])
        sent = self.uplink.compress(local.change.div_(-self.lr), ctx, "uplink")
        return {"c": sent.added_to(client["c"], 1 / self.steps)}, {"dx": sent}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return {
            "x": server["x"] - self.lr * self.server_lr * inbox.mean("dx", by="one"),
            "c": server["c"] + inbox.sum("dx") / (ctx.population * self.steps),
        }

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(down=2, up_compressed=1),)
