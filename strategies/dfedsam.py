"""DFedSAM and DFedSAM-MGS: sharpness-aware local steps, then one or several mixings of the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedsparse.gossip import Gossip, Neighbours
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Context, Message, Role, Start, State, Task, Vectors
from fedsparse.variance import corrected_mean

_LEAST = 1e-12
"""Added to the norm of a gradient, which may be zero."""


@dataclass(frozen=True)
class DFedSAM(Gossip):
    """DFedSAM (Shi, Shen, Wei, Sun, Yuan, Wang, Tao, ICML 2023, arXiv:2302.04083); with several mixings DFedSAM-MGS.

    Update of client i with K = ``steps`` local steps of size η = ``lr``, ρ = ``rho``, Q = ``mixings``, W the mixing
    matrix::

        z_i = x_i;  K times:  g = g_i(z_i);   z_i <- z_i - η g_i(z_i + ρ g / ||g||)     the same minibatch twice
        Q times:  send z_i;   z_i <- sum_j W_ij z_j                                     so that X <- W^Q Z
        x_i <- z_i

    The norm is over all parameters. State: x. Sent to each neighbour: Q vectors of d values, one after the other. Each
    step takes two gradients. A message that is lost, in any of the Q exchanges, gives its weight to the receiver's own.
    With ``correct`` the tensors of what W mixes get the variance sum_j W_ij Var(z_j^l), about the same mean, in each
    exchange: the correction of ``variance_corrected`` with these weights.

    Limit: with ρ = 0 that of ``dfedavg``, else that of gradients taken ρ ahead. Mixing shrinks differences of models by
    λ^Q a round where W shrinks them by λ. Statistics of BatchNorm advance at both points. Source: the algorithm box
    was not at hand.
    """

    delivery: ClassVar = {"z": "latest"}

    lr: float = option(0.1, "step size η", above=0)
    steps: int = option(5, "local steps K", at_least=1)
    rho: float = option(0.01, "radius ρ of the perturbation", at_least=0)
    mixings: int = option(1, "mixings Q a round; above 1: DFedSAM-MGS", at_least=1)
    correct: bool = option(False, "whether the tensors of a mean get back the mean of the models' variances")

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("train", *(f"mix{q}" for q in range(2, self.mixings + 1)))

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x[None]}

    def trained(self, x: Tensor, task: Task) -> Tensor:
        """Local models ``[C, d]`` after training from ``x [C, d]``."""
        z = x
        for step in range(self.steps):
            g = task.grad(z, step)
            ahead = z + g.mul_(self.rho / (g.norm(dim=1, keepdim=True) + _LEAST))
            z = z.add(task.grad(ahead, step), alpha=-self.lr)
        return z

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        z = self.trained(client["x"], task) if ctx.phase == "train" else client["x"]
        return {"x": z}, {"z": Dense(z)}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        if self.correct:
            return {"x": corrected_mean(lambda of: inbox.mix("z", of), ctx.layout)}
        return {"x": inbox.mix("z")}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(up=1),) * self.mixings
