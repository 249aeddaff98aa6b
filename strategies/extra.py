"""EXTRA: mixing with a correction that removes the error of constant steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedsparse.gossip import Gossip, Neighbours
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Context, Message, Role, Start, State, Task, Theory, Vectors


@dataclass(frozen=True)
class Extra(Gossip):
    """EXTRA (Shi, Ling, Wu, Yin, SIAM J. Optim. 2015, arXiv:1404.6264), with W~ = (I + W) / 2.

    Update of client i with step size η = ``lr``, W the mixing matrix, and p_i = ``p``, zero at first::

        send x_i
        x_i <- sum_j W_ij x_j - η g_i(x_i) - p_i;      p_i <- p_i + (x_i - sum_j W_ij x_j) / 2      with the old x_i

    The difference of two rounds is the usual form, x'' = (I + W) x' - W~ x - η (g' - g), begun by x' = W x - η g: p is
    what the rounds before add up to. This form needs neither the last x nor the last g.

    State: x, p. Sent to each neighbour: one vector of d values.

    A message that is lost gives its weight to the receiver's own. If losses are symmetric, or there are none, the sum
    of all p_i stays zero and the limit is the optimum. Otherwise that sum drifts, and the limit with it; then choose
    ``gradient_tracking``.

    Limit: the optimum, with W symmetric and always the same.
    """

    static_graph: ClassVar = True
    symmetric: ClassVar = True
    delivery: ClassVar = {"x": "latest"}
    theory = Theory("optimum", {"lr": 0.05}, rounds=300, within=1e-6, rate="linear")

    lr: float = option(0.05, "step size η", above=0)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x[None], "p": torch.zeros_like(start.x)[None]}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        x = client["x"]
        # Until it has heard the others, a client's x is its own step.
        return {"x": x - self.lr * task.grad(x), "p": client["p"]}, {"x": Dense(x)}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        x, mixed, p = inbox.own("x"), inbox.mix("x"), client["p"]
        return {"x": mixed + (client["x"] - x) - p, "p": p + (x - mixed) / 2}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(up=1),)
