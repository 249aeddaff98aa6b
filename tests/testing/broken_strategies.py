"""FedAvg, broken in one way each. Every class names the check that is there to find it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedsparse.compress import Compressor, Identity, RandK
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Context, Inbox, Message, Role, Start, State, Strategy, Task, Theory, Vectors
from fedsparse.schedule import InverseSqrt, Schedule


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


@dataclass(frozen=True)
class PromisesOptimum(Sound):
    """Is FedAvg, and claims to be exact."""

    caught_by = "theory"
    theory = Theory("optimum", {"lr": 0.02}, rounds=50, within=1e-6)


@dataclass(frozen=True)
class PromisesTooLittle(Sound):
    """Is exact, and claims not to be: one local step of FedAvg is gradient descent."""

    caught_by = "theory"
    theory = Theory("neighbourhood", {"lr": 0.1}, rounds=120, within=1e-3)

    def change(self, heard: State, task: Task) -> torch.Tensor:
        return task.sgd(heard["x"], lr=self.lr, steps=1).x - heard["x"]


@dataclass(frozen=True)
class PromisesLinear(Sound):
    """One local step, ever shorter: it is exact, and its rate is not linear."""

    caught_by = "theory"
    theory = Theory("optimum", rounds=200, within=1e-3, rate="linear")

    lr: float | Schedule = option(InverseSqrt(0.1), "local step size", above=0)

    def change(self, heard: State, task: Task) -> torch.Tensor:
        return task.sgd(heard["x"], lr=self.lr, steps=1).x - heard["x"]


@dataclass(frozen=True)
class PromisesSublinear(PromisesTooLittle):
    """Is gradient descent, and claims to be slower."""

    caught_by = "theory"
    theory = Theory("optimum", {"lr": 0.1}, rounds=120, within=1e-3, rate="sublinear")


@dataclass(frozen=True)
class SecondPromise(PromisesTooLittle):
    """Keeps its first promise and breaks the second."""

    caught_by = "theory"
    theory = (
        Theory("optimum", {"lr": 0.1}, rounds=120, within=1e-3),
        Theory("optimum", {"lr": 0.01}, rounds=120, within=1e-3),
    )


@dataclass(frozen=True)
class RateToNowhere(Sound):
    """Declares a rate to a limit that it does not reach."""

    caught_by = "theory"
    theory = Theory("neighbourhood", {"lr": 0.02}, rounds=10, within=1e-3, rate="linear")


@dataclass(frozen=True)
class Diverges(Sound):
    """Promises to come near, with a step that is far too long."""

    caught_by = "theory"
    theory = Theory("neighbourhood", {"lr": 1e6}, rounds=60, within=1e-3)


BROKEN = [
    cls
    for cls in list(globals().values())
    if isinstance(cls, type) and issubclass(cls, Strategy) and getattr(cls, "caught_by", "")
]
