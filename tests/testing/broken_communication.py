"""FedAvg that sends something else than it declares."""

from __future__ import annotations

from dataclasses import dataclass

from sound import Sound

from fedsparse.compress import Compressor
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Context, Inbox, Message, State, Task, Vectors


@dataclass(frozen=True)
class SendsMore(Sound):
    """Sends a second vector that it does not declare."""

    caught_by = "communication"

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, message = super().client_update(client, heard, task, ctx)
        return state, {**message, "grad": Dense(task.grad(heard["x"]))}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(down=1, up_compressed=1),)


@dataclass(frozen=True)
class SaysTwice(Sound):
    """Declares one vector down and sends two."""

    caught_by = "communication"

    def broadcast(self, server: State, ctx: Context) -> Message:
        message = super().broadcast(server, ctx)
        return {**message, "again": message["x"]}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(down=1, up_compressed=1),)


@dataclass(frozen=True)
class CompressesNothing(Sound):
    """Declares a compressed vector and sends it dense."""

    caught_by = "communication"

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, _ = super().client_update(client, heard, task, ctx)
        return state, {"dx": Dense(self.change(heard, task))}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(down=1, up_compressed=1),)


@dataclass(frozen=True)
class SendsInParts(Sound):
    """Sends its vector in a second exchange, which it does not declare."""

    caught_by = "communication"

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("greet", "train")

    def broadcast(self, server: State, ctx: Context) -> Message:
        return super().broadcast(server, ctx) if ctx.phase == "train" else {}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        if ctx.phase == "greet":
            return client, {"hello": Dense(client["rounds"])}
        return super().client_update(client, heard, task, ctx)

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return server if ctx.phase == "greet" else super().aggregate(server, inbox, ctx)

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(down=1, up_compressed=1),)


@dataclass(frozen=True)
class BeginsInFull(Sound):
    """Sends its first vector dense, and declares that it is compressed like the others."""

    caught_by = "communication"

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("begin",) if ctx.round == 0 else ("train",)

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, message = super().client_update(client, heard, task, ctx)
        return state, message if ctx.round else {"dx": Dense(self.change(heard, task))}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(down=1, up_compressed=1),)


@dataclass(frozen=True)
class PretendsToCompress(Sound):
    """Has no compressor to choose, declares a compressed vector, and sends it dense."""

    caught_by = "communication"

    uplink: Compressor | None = None  # type: ignore[assignment]

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        return {"rounds": client["rounds"] + 1}, {"dx": Dense(self.change(heard, task))}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(down=1, up_compressed=1),)


@dataclass(frozen=True)
class Synchronises(Sound):
    """Sends in full whenever the coin says so, and declares how often: nothing is wrong with it."""

    probability: float = option(0.3, "of a full message", above=0, below=1)

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        state, message = super().client_update(client, heard, task, ctx)
        full = {**message, "all": Dense(self.change(heard, task))}
        return state, full if ctx.phase == "full" else message

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("full",) if ctx.shared("coin").random() < self.probability else ("train",)

    def communication(self, size: int) -> tuple[Vectors, ...]:
        p = self.probability
        return (Vectors(1, up_compressed=1, probability=1 - p), Vectors(1, 1, 0, 1, probability=p))


@dataclass(frozen=True)
class SynchronisesMoreOften(Synchronises):
    """Sends in full twice as often as it declares."""

    caught_by = "communication"

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("full",) if ctx.shared("coin").random() < 2 * self.probability else ("train",)
