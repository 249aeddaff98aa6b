"""FedAvg that depends on what it must not, or does to values what they do not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from sound import Sound

from fedsparse.compress import Compressor, RandK
from fedsparse.message import Dense
from fedsparse.protocol import Context, Inbox, Message, Role, Start, State, Task


@dataclass(frozen=True)
class GlobalTorch(Sound):
    """Draws from torch's global generator, and then does nothing with it."""

    caught_by = "randomness"

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        torch.rand(1)
        return super().aggregate(server, inbox, ctx)


@dataclass(frozen=True)
class Counts(Sound):
    """Counts its calls in an attribute."""

    caught_by = "pure"

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        object.__setattr__(self, "calls", getattr(self, "calls", 0) + 1)
        return super().aggregate(server, inbox, ctx)


@dataclass(frozen=True)
class ClassMemory(Sound):
    """Keeps the last model in a dictionary of its class."""

    caught_by = "pure"
    memory: ClassVar[dict[str, torch.Tensor]] = {}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        self.memory["x"] = server["x"]
        return super().aggregate(server, inbox, ctx)


@dataclass(frozen=True)
class WritesToArguments(Sound):
    """Adds to the tensor that all clients of a block share."""

    caught_by = "pure"

    def change(self, heard: State, task: Task) -> torch.Tensor:
        found = super().change(heard, task)
        heard["x"].add_(found.norm())
        return found


@dataclass(frozen=True)
class Twice(Sound):
    """Gives another result the second time, from something that no state holds."""

    caught_by = "pure"

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        _CALLS.append(1)
        return {"x": server["x"] + inbox.mean("dx") * (1 + 1e-9 * len(_CALLS))}


_CALLS: list[int] = []


@dataclass(frozen=True)
class MixesRows(Sound):
    """Sends the mean of its block."""

    caught_by = "blocks"

    def change(self, heard: State, task: Task) -> torch.Tensor:
        found = super().change(heard, task)
        return found.mean(0, keepdim=True).expand_as(found)


@dataclass(frozen=True)
class CannotBeSaved(Sound):
    """Has a state of complex numbers, which no checkpoint takes."""

    caught_by = "resume"

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        first = super().init(role, start, ctx)
        return {**first, "wave": torch.zeros(2, dtype=torch.complex64)} if role == "server" else first


@dataclass(frozen=True)
class RoundsInSecret(Sound):
    """Says that its values travel as fp16, and sends others."""

    caught_by = "wire"

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, _ = super().client_update(client, heard, task, ctx)
        return state, {"dx": Dense(self.change(heard, task), kind="fp16")}


@dataclass(frozen=True)
class MovesByItself(Sound):
    """Divides by the length of the change."""

    caught_by = "zero_gradient"

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        mean = inbox.mean("dx")
        return {"x": server["x"] + 0.1 * mean / mean.norm()}


@dataclass(frozen=True)
class SendsModels(Sound):
    """Sends the model, not its change, and the server averages models."""

    caught_by = "zero_gradient"

    def change(self, heard: State, task: Task) -> torch.Tensor:
        return task.sgd(heard["x"], lr=self.lr, steps=2).x

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return {"x": inbox.mean("dx", by="one")}


@dataclass(frozen=True)
class Favours(Sound):
    """Clients with an odd id count twice."""

    caught_by = "permutation"

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, _ = super().client_update(client, heard, task, ctx)
        return state, {"dx": Dense(self.change(heard, task) * (1 + ctx.ids % 2)[:, None])}


@dataclass(frozen=True)
class FavoursWithRandomUplink(Favours):
    """The same behind a compressor that draws random numbers."""

    uplink: Compressor = RandK(0.5)
    uplink_class = "unbiased"
