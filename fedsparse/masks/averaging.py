"""Federated averaging on a mask that server and clients have in common, which most sparse strategies share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fedsparse.masks.cost import Cost
from fedsparse.masks.layers import RATIO_NAMES, check_ratio, layer_counts, layers_of
from fedsparse.masks.moves import moved
from fedsparse.masks.numbers import factors
from fedsparse.masks.travel import placed, taken
from fedsparse.message import Mask
from fedsparse.options import option
from fedsparse.protocol import (
    Context,
    Field,
    Inbox,
    Layout,
    Message,
    Role,
    Start,
    State,
    Strategy,
    Task,
    Trained,
)

__all__ = ["FixedMask", "MovingMask"]


@dataclass(frozen=True)
class FixedMask(Strategy):
    """FedAvg of the weights on a mask m that does not change.

    A strategy says in ``first_mask`` which. Both ways only the values on the mask travel. A client gets the mask when
    it is first spoken to.
    """

    fresh = ("x",)

    lr: float = option(0.1, "local step size η_l", above=0)
    server_lr: float = option(1.0, "server step size η_g", above=0)
    steps: int = option(5, "local steps K of every client", at_least=1)
    epochs: int | None = option(None, "passes over each client's examples, instead of steps", at_least=1)
    momentum: float = option(
        0.0, "heavy-ball weight of the local steps, zero at their start", at_least=0, below=1
    )
    weight_decay: float = option(0.0, "L2 penalty of the local steps", at_least=0)
    weighting: str = option("examples", "weights p_i of the clients in the mean", choices=("examples", "one"))
    density: float = option(
        0.1, "share ρ of the weights of the pruned layers that is kept", above=0, at_most=1
    )
    ratio: str = option("erk", "densities of layers relative to each other", choices=RATIO_NAMES)
    ends: bool = option(False, "whether the first and the last layer are pruned, too")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ratio(self.ratio, self.ends, "strategy.")

    @property
    def by(self) -> Literal["examples", "one"]:
        """How the clients weigh in a mean."""
        return "examples" if self.weighting == "examples" else "one"

    def layers(self, layout: Layout) -> tuple[Field, ...]:
        """The layers that are pruned."""
        return layers_of(layout, self.ends)

    def counts(self, layout: Layout) -> list[int]:
        """Weights that each of them keeps."""
        return layer_counts(self.layers(layout), self.density, self.ratio)

    def first_mask(self, start: Start, ctx: Context) -> Tensor:
        """The mask ``[d]`` to start with."""
        self._lacks("first_mask")

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        if role == "client":
            return {}
        mask = self.first_mask(start, ctx)
        if role == "held":
            return {"x": torch.zeros_like(start.x)[None], "mask": mask[None]}
        return {"x": torch.where(mask, start.x, 0), "mask": mask}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": taken(server["x"][None], server["mask"])}

    def hear(self, held: State, said: State, ctx: Context) -> State:
        return {"x": placed(said["x"], held["mask"][0]), "mask": held["mask"]}

    @property
    def length(self) -> int:
        """Local steps, or passes where there are ``epochs``."""
        return self.epochs or self.steps

    def train(
        self,
        x: Tensor,
        mask: Tensor,
        task: Task,
        length: int | None = None,
        first: int = 0,
        buffers: Tensor | None = None,
    ) -> Trained:
        """Local training.

        Args:
            x: where it starts, ``[1, d]`` or ``[C, d]``.
            mask: on which weights, likewise.
            task: the clients'.
            length: steps or passes; all by default.
            first: number of the first step.
            buffers: BatchNorm statistics to start from; by default those the engine keeps.
        """
        length = self.length if length is None else length
        return task.sgd(
            x,
            lr=self.lr,
            steps=None if self.epochs else length,
            epochs=length if self.epochs else None,
            first=0 if self.epochs else first,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            mask=factors(mask, x.dtype),
            buffers=buffers,
        )

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        local = self.train(heard["x"], heard["mask"], task)
        cost = Cost.of(task, heard["mask"], local.steps, self.momentum)
        return {}, {"dx": taken(local.change, heard["mask"][0]), **cost.message()}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return {**server, "x": self.averaged(server, inbox)}

    def averaged(self, server: State, inbox: Inbox) -> Tensor:
        """The server's model ``[d]`` after a step along the mean of the clients' changes."""
        mean = inbox.mean("dx", by=self.by)
        return server["x"] + self.server_lr * placed(mean[None], server["mask"])[0]


@dataclass(frozen=True)
class MovingMask(FixedMask):
    """The same on a mask that the server moves: with the values go the positions that were grown and pruned."""

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        state = dict(super().init(role, start, ctx))
        nowhere = torch.zeros(start.layout.size, dtype=torch.bool)
        if role == "held":
            state["mask"] = nowhere[None]
        if role == "server":
            # Devices have no mask yet: all of the first one is news.
            state |= {"grown": state["mask"], "pruned": nowhere}
        return state

    def broadcast(self, server: State, ctx: Context) -> Message:
        news = {name: Mask(server[name][None]) for name in ("grown", "pruned")}
        return {**super().broadcast(server, ctx), **news}

    def hear(self, held: State, said: State, ctx: Context) -> State:
        mask = moved(held["mask"], said["grown"] > 0, said["pruned"] > 0)
        return {**held, "x": placed(said["x"], mask[0]), "mask": mask}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        return self.settled(server, self.averaged(server, inbox), server["mask"])

    def settled(self, server: State, x: Tensor, mask: Tensor) -> State:
        """The server's state with the model ``x [d]`` and the mask ``mask [d]``, which clients do not have yet."""
        news = {"grown": mask & ~server["mask"], "pruned": server["mask"] & ~mask}
        return {**server, "x": torch.where(mask, x, 0), "mask": mask, **news}
