"""What the tests of the server engine share: a problem whose numbers can be read, and strategies made of pieces."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fedsparse.message import Dense, Payload
from fedsparse.protocol import Audience, Context, Inbox, Message, Role, Start, State, Strategy, Task
from fedsparse.records import Record
from fedsparse.rng import Streams


class Pulls:
    """f_i(x) = |x - (i + 1)|^2 / 2 in every coordinate: client i pulls towards i + 1."""

    def __init__(self, clients: int = 6, size: int = 4, sizes: list[int] | None = None) -> None:
        self.clients = clients
        self.start = torch.zeros(size, dtype=torch.float64)
        self.sizes = [1] * clients if sizes is None else sizes

    def gradient(self, ids: Tensor, x: Tensor, draw: Streams) -> Tensor:
        return x - (ids[:, None] + 1).to(x.dtype)

    def loss(self, ids: Tensor, x: Tensor) -> Tensor:
        return (x - (ids[:, None] + 1)).square().sum(1) / 2


@dataclass(frozen=True)
class Log:
    """What a strategy was called with; runs on one local worker only."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, *entry: object) -> None:
        self.calls.append(entry)

    def of(self, name: str) -> list[tuple[Any, ...]]:
        """The entries of that name, without it."""
        return [entry[1:] for entry in self.calls if entry[0] == name]


def send_gradient(client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
    """Plain gradient descent's client."""
    return client, {"g": Dense(task.grad(heard["x"]))}


@dataclass(frozen=True)
class Pieces(Strategy):
    """Gradient descent, of which a test replaces what it is about."""

    lr: Any = 0.5
    log: Log = field(default_factory=Log)
    phase_names: Callable[[Context], Any] = lambda _: ("train",)
    who: Callable[[Context], Any] = lambda _: "cohort"
    state: dict[str, Tensor] = field(default_factory=dict)
    say: Callable[[State, Context], Any] = lambda server, _: {"x": Dense(server["x"][None])}
    work: Callable[[State, State, Task, Context], Any] = send_gradient
    step: Callable[[State, Inbox, Context], Any] | None = None

    def phases(self, ctx: Context) -> tuple[str, ...]:
        self.log.add("phases", ctx.round, ctx.ids.tolist())
        return self.phase_names(ctx)

    def audience(self, ctx: Context) -> Audience:
        return self.who(ctx)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x} if role == "server" else dict(self.state)

    def broadcast(self, server: State, ctx: Context) -> Message:
        self.log.add("broadcast", ctx.round, ctx.phase, ctx.ids.tolist())
        return self.say(server, ctx)

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        self.log.add(
            "client", ctx.round, ctx.phase, ctx.ids.tolist(), {k: v.clone() for k, v in heard.items()}
        )
        return self.work(client, heard, task, ctx)

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        self.log.add("aggregate", ctx.round, ctx.phase, inbox.senders.tolist())
        if self.step is not None:
            return self.step(server, inbox, ctx)
        return {"x": server["x"] - self.lr * inbox.mean("g")}


def column(values: Tensor) -> Payload:
    """One number for each client, ``[C]``."""
    return Dense(values.to(torch.float64)[:, None])


def classes(record: Record) -> int:
    """Clients in all classes together."""
    return record.accepted + record.lost + record.late + record.absent + sum(record.rejected.values())
