"""Local SGD with all-reduce: everybody gets the mean of all models, the yardstick of gossip."""

from __future__ import annotations

from dataclasses import dataclass

from fedsparse.gossip import Gossip, Neighbours
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Audience, Context, Message, Role, Start, State, Task, Theory, Vectors


@dataclass(frozen=True)
class AllReduce(Gossip):
    """Local SGD with an all-reduce in every round (for K = 1, minibatch SGD in parallel).

    Update of client i with K = ``steps`` local steps of size η = ``lr``::

        y_i = x_i;   K times:  y_i <- y_i - η g_i(y_i);      x_i <- 1/n sum_j y_j

    The topology plays no part: models are added up around a ring, in which each client sends 2 (n-1) messages of d/n
    values, 2 d (n-1)/n in all. All clients need the same time, that of the slowest. State: x. Nothing gets lost in
    it.

    Limit: that of FedAvg with all clients and equal weights.
    """

    theory = Theory("fixed_point", {"lr": 0.02, "steps": 5}, rounds=200, within=1e-8, rate="linear")

    lr: float = option(0.1, "step size η", above=0)
    steps: int = option(1, "local steps K", at_least=1)
    momentum: float = option(0.0, "heavy-ball weight, zero at the start of each round", at_least=0, below=1)

    def audience(self, ctx: Context) -> Audience:
        return "all"

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x[None]}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        x = task.sgd(client["x"], lr=self.lr, steps=self.steps, momentum=self.momentum).x
        return {"x": x}, {"x": Dense(x)}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        return {"x": inbox.mix("x")}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(up=1, everyone=True),)
