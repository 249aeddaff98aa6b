"""Decentralized SGD: local steps and the weighted mean of the neighbours' models, in either order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedsparse.gossip import Gossip, Neighbours
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Context, Message, Role, Start, State, Task, Theory, Vectors
from fedsparse.variance import corrected_mean


@dataclass(frozen=True)
class DPSGD(Gossip):
    """D-PSGD (Lian, Zhang, Zhang, Hsieh, Zhang, Liu, NeurIPS 2017, arXiv:1705.09056), also called DSGD.

    Update of client i with K = ``steps`` local steps of size η = ``lr``, W the mixing matrix::

        order=atc (adapt, then combine):  y_i = x_i;  K times:  y_i <- y_i - η g_i(y_i);   send y_i
                                          x_i <- sum_j W_ij y_j
        order=cta (combine, then adapt):  send x_i;  y_i as above, beginning at x_i
                                          x_i <- sum_j W_ij x_j + (y_i - x_i)

    ``cta`` with K = 1 is Algorithm 1 of the paper, whose gradient is that at the point before mixing, so that computing
    and sending can overlap. State: x. Sent to each neighbour: one vector of d values.

    A message that is lost gives its weight to the receiver's own.

    With ``correct`` the tensors of what W mixes get the variance sum_j W_ij Var(y_j^l), about the same mean: the
    correction of ``variance_corrected`` with these weights, for clients that begin apart.

    Limit: on clients that differ the fixed point of both steps, O(η) away from the optimum; on quadratics with W
    symmetric (I - W (I - η A)) X = η W A b for ``atc`` and (I - W + η A) X = η A b for ``cta``.
    """

    delivery: ClassVar = {"x": "latest"}
    theory = Theory("neighbourhood", {"lr": 0.05}, rounds=100, within=0.03)

    lr: float = option(0.1, "step size η", above=0)
    steps: int = option(1, "local steps K", at_least=1)
    momentum: float = option(0.0, "heavy-ball weight, zero at the start of each round", at_least=0, below=1)
    weight_decay: float = option(0.0, "L2 penalty of the local steps", at_least=0)
    order: str = option("atc", "adapt then combine, or combine then adapt", choices=("atc", "cta"))
    correct: bool = option(False, "whether the tensors of a mean get back the mean of the models' variances")

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return (
            {"x": start.x[None]} if self.order == "atc" else {"x": start.x[None], "change": start.x[None] * 0}
        )

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        x = client["x"]
        local = task.sgd(
            x, lr=self.lr, steps=self.steps, momentum=self.momentum, weight_decay=self.weight_decay
        )
        if self.order == "atc":
            return {"x": local.x}, {"x": Dense(local.x)}
        return {"x": x, "change": local.change}, {"x": Dense(x)}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        mixed = corrected_mean(lambda of: inbox.mix("x", of), ctx.layout) if self.correct else inbox.mix("x")
        return (
            {"x": mixed}
            if self.order == "atc"
            else {"x": mixed + client["change"], "change": client["change"]}
        )

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(up=1),)
