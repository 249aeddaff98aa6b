"""FedAvg, with which nothing is wrong, and which the others are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedsparse.compress import Compressor, Identity
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Context, Inbox, Message, Role, Start, State, Strategy, Task


@dataclass(frozen=True)
class Sound(Strategy):
    """FedAvg with a count of rounds on every client: nothing is wrong with it."""

    caught_by: ClassVar[str] = ""

    lr: float = option(0.1, "local step size", above=0)
    uplink: Compressor = Identity()

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x} if role == "server" else {"rounds": torch.zeros_like(start.x[:1])[None]}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": Dense(server["x"][None])}

    def change(self, heard: State, task: Task) -> torch.Tensor:
        return task.sgd(heard["x"], lr=self.lr, steps=2).x - heard["x"]

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        sent = self.uplink.compress(self.change(heard, task), ctx, "uplink")
        return {"rounds": client["rounds"] + 1}, {"dx": sent}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return {**server, "x": server["x"] + inbox.mean("dx")}
