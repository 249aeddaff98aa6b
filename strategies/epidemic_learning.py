"""Epidemic learning: local steps, then the plain mean of the own model and those that happened to arrive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedsparse.gossip import Gossip, Neighbours, Stochastic
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Context, Message, Role, Start, State, Task, Vectors
from fedsparse.variance import corrected_mean


@dataclass(frozen=True)
class EpidemicLearning(Gossip):
    """Epidemic learning, EL (de Vos, Farhadkhani, Guerraoui, Kermarrec, Pires, Sharma, NeurIPS 2023, arXiv:2310.01972).

    Update of client i with K = ``steps`` local steps of size η = ``lr``; R_i are those it heard in this round::

        y_i = x_i;   K times:  y_i <- y_i - η g_i(y_i);   send y_i
        x_i <- (y_i + sum_{j in R_i} y_j) / (1 + |R_i|)

    ``topology=epidemic`` is EL-Local, in which each client sends to ``topology.degree`` random others; a new random
    regular graph in each round is EL-Oracle. The weights are equal whatever the mixing rule says. In EL-Local who hears
    whom is chance, and the mean of all models drifts. State: x. Sent to each neighbour: d values.

    A message that is lost is one that did not arrive: the mean is over the others. With ``correct`` the tensors of the
    mean get the mean variance of those models' tensors: the correction of ``variance_corrected`` with these weights.
    """

    stochastic: ClassVar[Stochastic] = "row"

    lr: float = option(0.1, "step size η", above=0)
    steps: int = option(1, "local steps K", at_least=1)
    momentum: float = option(0.0, "heavy-ball weight, zero at the start of each round", at_least=0, below=1)
    correct: bool = option(False, "whether the tensors of a mean get back the mean of the models' variances")

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x[None]}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        x = task.sgd(client["x"], lr=self.lr, steps=self.steps, momentum=self.momentum).x
        return {"x": x}, {"x": Dense(x)}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        counts = torch.bincount(inbox.receivers, minlength=len(ctx.ids)).double()
        share = 1 / (1 + counts)
        others = share[inbox.receivers]
        if self.correct:
            return {"x": corrected_mean(lambda of: inbox.combine("x", share, others, of), ctx.layout)}
        return {"x": inbox.combine("x", share, others)}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(up=1),)
