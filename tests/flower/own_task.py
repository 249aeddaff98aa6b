"""What a person might bring: data that each device has in a folder of its own, and strategies of other shapes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fedsparse.data import Dataset
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Audience, Context, Inbox, Message, Role, Start, State, Strategy, Task


def load(data_dir: Path | None, seed: int) -> Dataset:
    """The examples of the folder; their groups are the devices that have them."""
    assert data_dir is not None
    files = np.load(data_dir / "data.npz")
    test = files["x_test"], files["y_test"]
    groups = np.unique(files["device"], return_inverse=True)[1]  # numbered without gaps
    return Dataset("own", files["x"], files["y"], *test, classes=3, groups=groups)


def write(folder: Path, devices: int) -> None:
    """Unequal data: ``folder/device-i`` has those of device i, ``folder/all`` those of all."""
    draw = np.random.default_rng(0)
    sizes = [20 + 7 * device for device in range(devices)]
    device = np.repeat(np.arange(devices), sizes)
    x, y = draw.normal(size=(len(device), 5)).astype(np.float32), draw.integers(0, 3, len(device))
    test = {"x_test": x[:10] + 1, "y_test": y[:10]}
    for name, mine in [("all", device >= 0), *((f"device-{i}", device == i) for i in range(devices))]:
        (folder / name).mkdir(parents=True)
        np.savez(folder / name / "data.npz", x=x[mine], y=y[mine], device=device[mine], **test)


def none_for_the_first(dataset: Dataset, clients: int, seed: int) -> np.ndarray:
    """The owner of each example: the others in turn, nothing for client 0."""
    return 1 + np.arange(len(dataset.x)) % (clients - 1)


@dataclass(frozen=True)
class Holding(Strategy):
    """Each client holds a running mean of its own of what it was told, and who is new is told something else."""

    held = "own"

    lr: float = option(0.1, "step size", above=0)

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("greet", "train")

    def audience(self, ctx: Context) -> Audience:
        return "new" if ctx.phase == "greet" else "cohort"

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        if role == "server":
            return {"x": start.x}
        return {"m": start.x[None]} if role == "held" else {"times": torch.zeros(1, dtype=torch.int64)}

    def broadcast(self, server: State, ctx: Context) -> Message:
        if ctx.phase == "train":
            return {"x": Dense(server["x"][None])}
        return {"x": Dense(server["x"] * (1 + ctx.ids[:, None].to(server["x"])))}

    def hear(self, held: State, said: State, ctx: Context) -> State:
        return {"m": (held["m"] + said["x"]) / 2}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        return {"times": client["times"] + 1}, {"g": Dense(task.grad(heard["m"]))}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return {"x": server["x"] - self.lr * inbox.mean("g")}


@dataclass(frozen=True)
class Recalling(Strategy):
    """The second exchange of a round works with what was said in the first, to each client something else."""

    lr: float = option(0.1, "step size", above=0)

    def phases(self, ctx: Context) -> tuple[str, ...]:
        return ("first", "second")

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x} if role == "server" else {}

    def broadcast(self, server: State, ctx: Context) -> Message:
        if ctx.phase == "second":
            return {"b": Dense(server["x"][None] / 2)}
        return {"a": Dense(server["x"] * (1 + ctx.ids[:, None].to(server["x"])))}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        x = heard["a"] if ctx.phase == "first" else heard["a"] + heard["b"]
        return {}, {"g": Dense(task.grad(x))}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return {"x": server["x"] - self.lr * inbox.mean("g")}
