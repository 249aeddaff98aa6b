"""DeepSqueeze: gossip on compressed models, with what compression left out added to the next one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedsparse.compress import Compressor, TopK
from fedsparse.gossip import Gossip, Neighbours
from fedsparse.options import option
from fedsparse.protocol import Context, Message, Role, Start, State, Task, Vectors


@dataclass(frozen=True)
class DeepSqueeze(Gossip):
    """DeepSqueeze (Tang, Lian, Qiu, Yuan, Zhang, Zhang, Liu, 2019, arXiv:1907.07346).

    Update of client i with K = ``steps`` local steps of size η = ``lr``, γ = ``gamma``, C = ``uplink``, and the memory
    e_i = ``e``, zero at first::

        y_i = x_i;  K times:  y_i <- y_i - η g_i(y_i);      c_i = C(y_i + e_i);   e_i <- y_i + e_i - c_i;   send c_i
        x_i <- y_i + γ sum_j W_ij (c_j - c_i)

    Models are compressed, not differences to what is known of them: two vectors are enough for any number of
    neighbours, and W may change. State: x, e. Sent to each neighbour: one vector through ``uplink``.

    A message that is lost counts as the receiver's own: its term is then zero. The mean of all models is kept without
    losses and with symmetric ones.

    Limit: a neighbourhood of the optimum, which does not vanish with η where clients differ, since the compression of
    models that differ does not. ``choco`` and ``beer`` do better there. The paper has K = 1.
    """

    uplink_class: ClassVar = "contractive"
    delivery: ClassVar = {"c": "latest"}

    lr: float = option(0.1, "step size η", above=0)
    steps: int = option(1, "local steps K", at_least=1)
    momentum: float = option(0.0, "heavy-ball weight, zero at the start of each round", at_least=0, below=1)
    gamma: float = option(0.1, "consensus step γ", above=0, at_most=1)
    uplink: Compressor = TopK(0.1)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x[None], "e": torch.zeros_like(start.x)[None]}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        y = task.sgd(client["x"], lr=self.lr, steps=self.steps, momentum=self.momentum).x
        c, e = self.uplink.with_memory(y, client["e"], ctx, "uplink")
        return {"x": y, "e": e}, {"c": c}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        pull = inbox.mix("c") - inbox.own("c")
        return {"x": client["x"] + self.gamma * pull, "e": client["e"]}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        return (Vectors(up_compressed=1),)
