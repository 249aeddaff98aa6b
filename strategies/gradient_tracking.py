"""Gradient tracking: every client follows the mean gradient of all, so that constant steps reach the optimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedsparse.gossip import Gossip, Neighbours
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Context, Message, Role, Start, State, Task, Theory, Vectors


@dataclass(frozen=True)
class GradientTracking(Gossip):
    """Gradient tracking, as DIGing (Nedić, Olshevsky, Shi, SIAM J. Optim. 2017, arXiv:1607.03218).

    Before it NEXT (Di Lorenzo, Scutari, 2016); with minibatches Pu, Nedić (Math. Program. 2021, arXiv:1805.11454).

    Update of client i with step size η = ``lr`` and W the mixing matrix; y_i = g_i(x_i) at first, y = ``y``, g = ``g``
    the gradient that was counted last::

        order=atc (adapt, then combine):  x_i <- sum_j W_ij (x_j - η y_j)
                                          y_i <- sum_j W_ij (y_j + g_j(x_j) - g_j)      g_j(x_j) at the new x_j
        order=cta (combine, then adapt):  x_i <- sum_j W_ij x_j - η y_i
                                          y_i <- sum_j W_ij y_j + g_i(x_i) - g_i

    Always g_i <- g_i(x_i) then: the same sample leaves y with which it came. So mean(y) = mean(g) for ever.

    State: x, y, g. Sent to each neighbour: two vectors of d values; with ``atc`` in two exchanges, the second of which
    is about the new point, with ``cta`` in one, in which y has its new gradient already and is kept as it is mixed.

    A lost x gives its weight to the receiver's own: models that agree stay as they are. A lost y gives it to the
    sender's own: what nobody got stays where it was, and mean(y) = mean(g) holds with any losses. The former are then
    rows, the latter columns that sum to one, as in push-pull methods, and the limit is still the optimum.

    Limit: the optimum, on any doubly stochastic W that may change. Without the silent first phase of ``atc`` y would
    begin as W g.
    """

    delivery: ClassVar = {"x": "latest", "y": "kept"}
    theory = Theory("optimum", {"lr": 0.05}, rounds=300, within=1e-6, rate="linear")

    lr: float = option(0.05, "step size η", above=0)
    order: str = option("atc", "adapt then combine, or combine then adapt", choices=("atc", "cta"))

    def phases(self, ctx: Context) -> tuple[str, ...]:
        if self.order == "cta":
            return ("train",)
        return ("start", "x", "y") if ctx.round == 0 else ("x", "y")

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        zero = torch.zeros_like(start.x)[None]
        return {"x": start.x[None], "y": zero, "g": zero}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        x, y = client["x"], client["y"]
        if ctx.phase == "x":
            return client, {"x": Dense(x - self.lr * y)}
        # The first gradient has a minibatch of its own: step 0 of this round is that of phase y.
        g = task.grad(x, step=1 if ctx.phase == "start" else 0)
        y = y + (g - client["g"])
        state = {"x": x, "y": y, "g": g}
        if ctx.phase == "start":
            return state, {}
        return state, {"y": Dense(y)} if ctx.phase == "y" else {"x": Dense(x), "y": Dense(y)}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        if ctx.phase == "x":
            return {**client, "x": inbox.mix("x")}
        if ctx.phase == "y":
            return {**client, "y": inbox.mix("y")}
        return {"x": inbox.mix("x") - self.lr * client["y"], "y": inbox.mix("y"), "g": client["g"]}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(up=1), Vectors(up=1)) if self.order == "atc" else (Vectors(up=2),)
