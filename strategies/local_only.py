"""Local training: every client has a model of its own and tells nobody, the yardstick of what cooperation is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedsparse.masks import dense_cost
from fedsparse.message import Scalars
from fedsparse.options import option
from fedsparse.protocol import Context, Inbox, Message, Role, Start, State, Strategy, Task


@dataclass(frozen=True)
class LocalOnly(Strategy):
    """Local training without communication, the usual baseline of personalised learning.

    In each round, with K = ``steps`` local steps of size η = ``lr``, a client that takes part does::

        K times:  x_i <- x_i - η g_i(x_i)

    Sent: nothing of the model. The client says that it is done, in a header and a few bytes. Client state: x_i, and its
    own BatchNorm statistics. Records ``flops`` and ``device_bytes`` as ``fedavg`` does.
    Limit: each client's own minimiser. The evaluated model, and that of clients that never took part, is the one that
    all start from: what counts is ``personal_accuracy``, which needs ``personal``.
    """

    buffers: ClassVar = "local"
    personal: ClassVar = True

    lr: float = option(0.2, "local step size η", above=0)
    steps: int = option(5, "local steps K of every client", at_least=1)
    epochs: int | None = option(None, "passes over each client's examples, instead of steps", at_least=1)
    momentum: float = option(
        0.0, "heavy-ball weight of the local steps, zero at the start of each round", at_least=0, below=1
    )
    weight_decay: float = option(0.0, "L2 penalty of the local steps", at_least=0)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x} if role == "server" else {"x": start.x[None]}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        local = task.sgd(
            client["x"],
            lr=self.lr,
            steps=None if self.epochs else self.steps,
            epochs=self.epochs,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        done = Scalars(torch.empty(len(ctx.ids), 0, dtype=torch.float64))
        return {"x": local.x}, {"done": done, **dense_cost(task, local, self.momentum)}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return server

    def judge(self, client: State, x: Tensor, task: Task, new: Tensor, ctx: Context) -> dict[str, Tensor]:
        return {"personal_accuracy": task.own_accuracy(client["x"])}
