"""Gossip learning: models walk from client to client; what arrives is merged by age, then trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedsparse.gossip import Gossip, Neighbours, Stochastic
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Context, Message, Role, Start, State, Task, Vectors


@dataclass(frozen=True)
class GossipLearning(Gossip):
    """Gossip learning (Ormándi, Hegedűs, Jelasity 2013; partitioned: Hegedűs, Danner, Jelasity 2019 and 2021).

    Client i has a model x_i in S = ``partitions`` parts, and the age a_i of each part: how many local steps have gone
    into it. In a round it makes K = ``steps`` local steps of size η = ``lr``, which adds K to its ages, draws a part p
    and sends (x_i^p, a_i^p). Whoever hears it merges, one message after another in ascending sender::

        w = a_j / (a_j + a_i)  (age; 1/2 where both are 0);   1/2 (average);   1 (none: the model that came is taken)
        x_i^p <- (1 - w) x_i^p + w x_j^p;      a_i^p <- max(a_i^p, a_j^p)

    State: x, age. Sent to each neighbour: d / S values, the part's number and its age. Meant for
    ``topology=epidemic topology.degree=1``: each client sends to one random other. Mixing weights play no part.

    In rounds all clients train alike, so that ages differ only where some have been away; else ``age`` is ``average``.

    A message that is lost has not come. Departures: rounds are synchronous here, so that all clients act once in each;
    a client's period begins with its training, as merging then training is the same cycle.
    """

    stochastic: ClassVar[Stochastic] = "row"

    lr: float = option(0.1, "step size η", above=0)
    steps: int = option(1, "local steps K", at_least=0)
    merge: str = option(
        "age",
        "weights of a merge: by age, equal, or all to the one that came",
        choices=("age", "average", "none"),
    )
    partitions: int = option(1, "parts S of the model, of which one is sent", at_least=1)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        age = torch.zeros(1, self.partitions, dtype=start.x.dtype)
        return {"x": start.x[None], "age": age}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        x, age = client["x"], client["age"]
        if self.steps:
            x, age = task.sgd(x, lr=self.lr, steps=self.steps).x, age + self.steps
        rows, part = torch.arange(len(x)), ctx.rng("part").integers(self.partitions, 1)[:, 0]
        sent = self._parts(x)[rows, part]
        label = torch.stack([part.to(x.dtype), age[rows, part]], dim=1)
        return {"x": x, "age": age}, {"part": Dense(sent), "label": Dense(label)}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        parts, age = self._parts(client["x"]).clone(), client["age"].clone()
        came, label = inbox.heard("part"), inbox.heard("label")
        turn = _turns(inbox.receivers)
        for k in range(int(turn.max()) + 1 if len(turn) else 0):
            now = turn == k
            i, p, its = inbox.receivers[now], label[now, 0].long(), label[now, 1]
            own = age[i, p]
            if self.merge == "age":
                whole = own + its
                w = torch.where(whole > 0, its / torch.where(whole > 0, whole, 1), 0.5)
            else:
                w = torch.full_like(own, 0.5 if self.merge == "average" else 1.0)
            parts[i, p] = (1 - w)[:, None] * parts[i, p] + w[:, None] * came[now]
            age[i, p] = torch.maximum(own, its)
        return {"x": parts.flatten(1)[:, : client["x"].shape[1]], "age": age}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(up=1 / self.partitions),)

    def _parts(self, x: Tensor) -> Tensor:
        """The parts of models ``[C, d]``, filled up with zeros: ``[C, S, ceil(d / S)]``."""
        short = -x.shape[1] % self.partitions
        return torch.nn.functional.pad(x, (0, short)).view(len(x), self.partitions, -1)


def _turns(receivers: Tensor) -> Tensor:
    """Of each message, how many its receiver has got before it, ``[E]``; receivers ascend."""
    counts = torch.bincount(receivers)
    starts = counts.cumsum(0) - counts
    return torch.arange(len(receivers)) - starts[receivers]
