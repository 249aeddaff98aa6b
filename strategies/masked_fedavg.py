"""FedAvg whose clients send a random part of their change, which a seed stands for: the naive sparse baseline."""

from __future__ import annotations

from dataclasses import dataclass

from fedsparse.compress import RandK
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Context, Inbox, Message, Role, Start, State, Strategy, Task, Theory, Vectors


@dataclass(frozen=True)
class MaskedFedAvg(Strategy):
    """FedAvg with random masks (Konečný, McMahan, Yu, Richtárik, Suresh, Bacon 2016, arXiv:1610.05492, subsampling).

    With K = ``steps``, η_l = ``lr``, η_g = ``server_lr``, weights p_i by ``weighting``, and masks m_i of
    k = ``fraction`` d ones, new for each client and round::

        client:   y_i = x;   K times:  y_i <- y_i - η_l g_i(y_i);   send a m_i ⊙ (y_i - x)
        server:   x <- x + η_g sum_i p_i a m_i ⊙ (y_i - x)

    ``scaled``: a = d/k, an unbiased estimate of FedAvg's step whose noise is d/k times as large. Otherwise a = 1: every
    entry of the mean is smaller by k/d, which is a smaller step of the server with less noise.

    Sent: down x; up k values and the 8 bytes of a seed, from which the server derives the mask. Clients keep no state.
    Limit: a distance: where clients differ their changes do not vanish, and neither does what the masks make of them.
    Departure: the mask is put on after training; the paper's structured updates also train within it.
    """

    theory = Theory("neighbourhood", {"lr": 0.02, "steps": 5}, rounds=300, within=1e-2)

    lr: float = option(0.2, "local step size η_l", above=0)
    server_lr: float = option(1.0, "server step size η_g", above=0)
    steps: int = option(5, "local steps K of every client", at_least=1)
    weighting: str = option("examples", "weights p_i of the clients in the mean", choices=("examples", "one"))
    fraction: float = option(0.1, "share of the entries that are sent, k/d", above=0, at_most=1)
    scaled: bool = option(False, "whether what is sent is multiplied by d/k, so that the mean is right")

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x} if role == "server" else {}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": Dense(server["x"][None])}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        change = task.sgd(heard["x"], lr=self.lr, steps=self.steps).change
        return {}, {"dx": RandK(self.fraction, unbiased=self.scaled).compress(change, ctx, "mask")}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return {"x": server["x"] + self.server_lr * inbox.mean("dx", by=self.weighting)}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(down=1, up_compressed=1),)
