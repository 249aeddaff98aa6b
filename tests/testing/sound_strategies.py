"""Strategies that use the protocol to its full width, and keep it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sound import Sound

from fedsparse.message import Dense, MaskedDense, Scalars
from fedsparse.options import option
from fedsparse.protocol import Audience, Context, Inbox, Message, Role, Start, State, Task
from fedsparse.schedule import Linear, Schedule


@dataclass(frozen=True)
class Phases(Sound):
    """Newcomers introduce themselves, everybody votes on a mask in every second round, then the cohort trains on it."""

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("greet", "vote", "train") if ctx.round % 2 == 0 else ("train",)

    def audience(self, ctx: Context) -> Audience:
        return {"greet": "new", "vote": "all"}.get(ctx.phase, "cohort")

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        first = super().init(role, start, ctx)
        if role != "server":
            return first
        return {
            **first,
            "mask": torch.ones(len(start.x), dtype=torch.bool),
            "met": torch.zeros(1, dtype=torch.int64),
        }

    def broadcast(self, server: State, ctx: Context) -> Message:
        return super().broadcast(server, ctx) if ctx.phase != "greet" else {}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        one = client["rounds"] * 0 + 1
        if ctx.phase == "greet":
            return client, {"hello": Dense(one)}
        if ctx.phase == "vote":
            return client, {"vote": Dense(task.grad(heard["x"]).abs())}
        state, message = super().client_update(client, heard, task, ctx)
        return state, {**message, "@steps": Scalars(one.to(torch.float64))}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        if ctx.phase == "greet":
            return {**server, "met": server["met"] + len(inbox.senders)}
        if ctx.phase == "vote":
            votes = inbox.mean("vote", by="one")
            return {**server, "mask": votes >= votes.median()}
        return {**server, "x": server["x"] + inbox.mean("dx") * server["mask"]}


@dataclass(frozen=True)
class Replica(Sound):
    """Sends what is new about the model; every client adds it up. Its step size follows the round."""

    held = "shared"
    lr: float | Schedule = option(Linear(0.1, 0.05), "local step size", above=0)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        if role == "held":
            return {"x": torch.zeros_like(start.x)[None]}
        first = super().init(role, start, ctx)
        return {**first, "told": torch.zeros_like(start.x)} if role == "server" else first

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"news": Dense((server["x"] - server["told"])[None])}

    def hear(self, held: State, said: State, ctx: Context) -> State:
        return {"x": held["x"] + said["news"]}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        told = server["told"] + (server["x"] - server["told"])
        return {"x": server["x"] + inbox.mean("dx"), "told": told}


@dataclass(frozen=True)
class Personal(Sound):
    """Every client is told how far to go by itself, and remembers it."""

    held = "own"

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        if role == "held":
            return {"x": torch.zeros_like(start.x)[None], "length": torch.ones_like(start.x[:1])[None]}
        return super().init(role, start, ctx)

    def broadcast(self, server: State, ctx: Context) -> Message:
        x = server["x"].expand(len(ctx.ids), -1)
        return {"x": Dense(x), "length": Dense(torch.full_like(x[:, :1], 0.5))}

    def hear(self, held: State, said: State, ctx: Context) -> State:
        return {"x": said["x"], "length": (held["length"] + said["length"]) / 2}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        return {"rounds": client["rounds"] + 1}, {"dx": Dense(self.change(heard, task) * heard["length"])}


@dataclass(frozen=True)
class Everybody(Sound):
    """Needs all clients in every round."""

    def audience(self, ctx: Context) -> Audience:
        return "all"


@dataclass(frozen=True)
class Masked(Sound):
    """Sends the entries of a mask that server and clients draw alike, and draws noise of its own for each client."""

    def support(self, ctx: Context, size: int) -> torch.Tensor:
        return torch.from_numpy(ctx.shared("mask").permutation(size)[: size // 2]).sort().values

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        change = self.change(heard, task) * ctx.rng("dither").uniform(1, heard["x"].dtype)
        return client, {"dx": MaskedDense(change[:, self.support(ctx, change.shape[1])])}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        x = server["x"].clone()
        x[self.support(ctx, len(x))] += inbox.mean("dx")
        return {"x": x}


SOUND = [Phases, Replica, Personal, Everybody, Masked]
