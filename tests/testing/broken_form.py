"""FedAvg in a wrong form: what the class is, what it says of itself, and names, shapes and types that change."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sound import Sound

from fedsparse.message import Dense
from fedsparse.protocol import Context, Message, Role, Start, State, Task


class Undecorated(Sound):
    """Is no dataclass, so that its field is none."""

    caught_by = "dataclass"
    server_lr: float = 1.0


@dataclass(frozen=True)
class Settable(Sound):
    """Takes new values, like a class that is not frozen."""

    caught_by = "dataclass"


Settable.__setattr__ = object.__setattr__  # type: ignore[method-assign]


@dataclass(frozen=True)
class Undocumented(Sound):
    caught_by = "documented"


@dataclass(frozen=True)
class Unchecked(Sound):
    """Has a number of which nobody knows what it is."""

    caught_by = "options"
    server_lr: float = 1.0


@dataclass(frozen=True)
class NewKey(Sound):
    """A client's state gets another name after the first round."""

    caught_by = "stable"

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, message = super().client_update(client, heard, task, ctx)
        return (state | {"late": state["rounds"]} if ctx.round else state), message


@dataclass(frozen=True)
class NewBroadcast(Sound):
    """Says something else in every other round."""

    caught_by = "stable"

    def broadcast(self, server: State, ctx: Context) -> Message:
        message = super().broadcast(server, ctx)
        return {**message, "twice": message["x"]} if ctx.round % 2 else message


@dataclass(frozen=True)
class NewShape(Sound):
    """Sends less in later rounds."""

    caught_by = "stable"

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, message = super().client_update(client, heard, task, ctx)
        return state, {**message, "extra": Dense(heard["x"][:, ctx.round :].expand(len(ctx.ids), -1))}


@dataclass(frozen=True)
class SinglePrecision(Sound):
    """Makes its tensors in float32, whatever the problem has."""

    caught_by = "stable"

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x} if role == "server" else {"rounds": torch.zeros(1, 1)}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        _, message = super().client_update(client, heard, task, ctx)
        return {"rounds": client["rounds"] + self.change(heard, task)[:, :1] * 0}, message


@dataclass(frozen=True)
class HalfModel(Sound):
    """Gives a model of half the parameters to the evaluation."""

    caught_by = "stable"

    def model(self, state: State, ctx: Context) -> torch.Tensor:
        return state["x"][::2]
