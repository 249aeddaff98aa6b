"""FFA-LoRA: A stays as it was drawn, B and the head are trained, so that the mean of products is exact."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.errors import ConfigError
from fedsparse.masks import Cost, placed, taken
from fedsparse.protocol import Context, Inbox, Layout, Message, Role, Start, State, Task
from fedsparse.strategies._adapters import Adapters


@dataclass(frozen=True)
class FFALora(Adapters):
    """FFA-LoRA (Sun, Li, Li, Ding, ICLR 2024, arXiv:2403.12313).

    x are all trained parameters, adapters and head; f are those that are no A. With K = ``steps``, η_l = ``lr``, β =
    ``momentum``, S clients a round::

        client:   y_i = x;   K times:  v <- β v + f ⊙ g_i(y_i),  y_i <- y_i - η_l v;       send y_i - x on f
        server:   D = (1/S) sum_S of what was sent;   x <- AdamW(x, -D), or x <- x + η_g D, on f

    A is the random one of the start on all clients, so mean(B_i A) = mean(B_i) A: the ``residual`` of ``flasc`` is
    zero. It wants steps of its own, larger than where A is trained, too.

    Sent: both ways the values on f. A comes with the frozen model and is not charged. Server state: 3 d (adamw);
    clients keep none. Records ``flops`` and ``device_bytes``, in which A counts as little as the frozen model does.
    Limit: with ``optimizer=sgd`` of step 1 that of FedAvg without weights on f.
    A model without adapters is all head. A client takes ``steps``; ``epochs`` are refused.
    """

    fresh = ("x",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is not None:
            raise ConfigError(
                f"strategy.epochs={self.epochs}: ffa_lora counts local steps; set strategy.steps"
            )

    def trained(self, layout: Layout) -> Tensor:
        """f, ``[d]`` bool."""
        mask = torch.ones(layout.size, dtype=torch.bool)
        for a, _ in layout.adapters:
            mask[a.slice] = False
        return mask

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        if role == "client":
            return {}
        if role == "held":
            return {"x": start.x[None]}
        return {"x": start.x, **self.optimizer_state(start.x)}

    def broadcast(self, server: State, ctx: Context) -> Message:
        return {"x": taken(server["x"][None], self.trained(ctx.layout))}

    def hear(self, held: State, said: State, ctx: Context) -> State:
        mask = self.trained(ctx.layout)
        return {"x": torch.where(mask, placed(said["x"], mask), held["x"])}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        mask = self.trained(ctx.layout)
        # Not by `task.sgd`, whose mask would set A to zero.
        y = heard["x"].expand(len(ctx.ids), -1)
        velocity = torch.zeros_like(y)
        for step in range(self.steps):
            velocity = self.momentum * velocity + torch.where(mask, task.grad(y, step), 0)
            y = y - self.lr * velocity
        cost = Cost.of(task, mask[None], y.new_full((len(y), 1), self.steps), self.momentum)
        return {}, {"dx": taken(y - heard["x"], mask), **cost.message()}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        mask = self.trained(ctx.layout)
        new = self.stepped(server, placed(inbox.mean("dx", by="one")[None], mask)[0])
        return {**new, "x": torch.where(mask, new["x"], server["x"])}
