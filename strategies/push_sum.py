"""Stochastic gradient push: SGD on directed graphs, where weights of what is sent sum to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedsparse.gossip import Gossip, Neighbours
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Context, Message, Role, Start, State, Task, Vectors


@dataclass(frozen=True)
class PushSum(Gossip):
    """SGP (Assran, Loizou, Ballas, Rabbat, ICML 2019, arXiv:1811.10792), on push-sum (Kempe, Dobra, Gehrke, 2003).

    Update of client i with K = ``steps`` local steps of size η = ``lr``, P the mixing matrix, whose columns sum to one,
    s_i = ``s`` and the number w_i = ``w``, 1 at first::

        z_i = s_i / w_i;  K times:  z_i <- z_i - η g_i(z_i);      send s_i + (change of z_i) and w_i
        s_i <- sum_j P_ij (s_j + change of z_j);      w_i <- sum_j P_ij w_j

    So gradients are taken at the model z, and applied to s. State: s, w. Sent to each neighbour: d + 1 values. The
    model is s / w.

    A message that is lost stays with its sender, s and w alike: their sums are what they would be without losses, and
    weights of columns need no more than that.

    Limit: as D-PSGD, a neighbourhood of size O(η) of the optimum; without steps the exact mean.
    """

    stochastic: ClassVar = "column"
    nonnegative: ClassVar = True
    delivery: ClassVar = {"s": "kept", "w": "kept"}

    lr: float = option(0.1, "step size η", above=0)
    steps: int = option(1, "local steps K; 0: only averaging", at_least=0)
    momentum: float = option(0.0, "heavy-ball weight, zero at the start of each round", at_least=0, below=1)
    weight_decay: float = option(0.0, "L2 penalty of the local steps", at_least=0)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"s": start.x[None], "w": torch.ones(1, 1, dtype=start.x.dtype)}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        s, w = client["s"], client["w"]
        if self.steps:
            s = (
                s
                + task.sgd(
                    s / w,
                    lr=self.lr,
                    steps=self.steps,
                    momentum=self.momentum,
                    weight_decay=self.weight_decay,
                ).change
            )
        return {"s": s, "w": w}, {"s": Dense(s), "w": Dense(w)}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        return {"s": inbox.mix("s"), "w": inbox.mix("w")}

    def model(self, state: State, ctx: Context) -> Tensor:
        return state["s"] / state["w"]

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(up=1),)
