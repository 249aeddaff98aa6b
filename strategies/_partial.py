"""What strategies have in common that send only some coordinates of their models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedsparse.gossip import Gossip, Neighbours
from fedsparse.message import Sparse
from fedsparse.options import option
from fedsparse.protocol import Context, Message, Role, Start, State, Task, Vectors

__all__ = ["PartialExchange"]


@dataclass(frozen=True)
class PartialExchange(Gossip):
    """Exchange of what :meth:`chosen` says; the rest is in the docstrings of those who say it."""

    delivery: ClassVar = {"x": "latest"}

    lr: float = option(0.1, "step size η", above=0)
    steps: int = option(1, "local steps K", at_least=1)
    momentum: float = option(0.0, "heavy-ball weight, zero at the start of each round", at_least=0, below=1)
    averaging: bool = option(False, "whether what mixing changes counts as a change, too")

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x[None], "since": torch.zeros_like(self.forth(start.x[None]))}

    def forth(self, x: Tensor) -> Tensor:
        """What is sent of models ``[C, d]``: their own coordinates."""
        return x

    def back(self, sent: Tensor, size: int) -> Tensor:
        """Models ``[C, d]`` of what :meth:`forth` gives of them."""
        return sent

    def chosen(self, since: Tensor, ctx: Context) -> Tensor:
        """Where values are sent, ``[C, D]`` bool: everywhere."""
        return torch.ones_like(since, dtype=torch.bool)

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        local = task.sgd(client["x"], lr=self.lr, steps=self.steps, momentum=self.momentum)
        since = client["since"] + self.forth(local.change)
        there = self.chosen(since, ctx)
        part = _where(there, self.forth(local.x))
        return {"x": local.x, "since": since.masked_fill(there, 0)}, {"x": part}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        x = self.back(inbox.completed("x", self.forth(client["x"])), ctx.layout.size)
        since = client["since"] + self.forth(x - client["x"]) if self.averaging else client["since"]
        return {"x": x, "since": since}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(up_compressed=1),)


def _where(there: Tensor, values: Tensor) -> Sparse:
    """The values ``[C, D]`` of some places, ``[C, D]`` bool."""
    counts = there.sum(1)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Sparse(there.nonzero()[:, 1], values[there], offsets, values.shape[1])
