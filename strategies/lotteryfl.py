"""LotteryFL: every client finds a lottery ticket of its own in the global start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from fedsparse.masks import Cost, FixedMask, at_marks, mean_of_holders, smallest, unpacked
from fedsparse.message import Mask, Ragged, Scalars
from fedsparse.options import option
from fedsparse.protocol import Context, Field, Inbox, Message, Role, Start, State, Strategy, Task


@dataclass(frozen=True)
class LotteryFL(FixedMask):
    """LotteryFL (Li, Sun, Wang, Duan, Li, Chen, Li, 2020, arXiv:2008.03371; SEC 2021).

    With θ_0 the start, masks m_i of all ones at first, τ = ``threshold``, ρ = ``density``, K = ``steps`` (or
    ``epochs``), η_l = ``lr``, η_g = ``server_lr``, p_i by ``weighting``::

        client:   y_i = m_i ⊙ x
                  if its accuracy at y_i is at least τ and it has more than a share ρ of the weights left:
                      m_i loses the ⌊``share`` n_l⌋ smallest |y_i| of each layer l, which has n_l;   y_i = m_i ⊙ θ_0
                  K times:  y_i <- y_i - η_l m_i ⊙ g_i(y_i);     send y_i - x on m_i
        server:   x_j <- x_j + η_g sum_{i: j in m_i} p_i (y_i - x)_j / sum_{i: j in m_i} p_i, where anybody has j

    Sent: down the values of x on m_i, and up those of the change on m_i and the positions that it lost. The server has
    everybody's mask, N d bits; a client keeps m_i and θ_0, which follows from the seed of the run.
    Records ``flops``, ``device_bytes`` and ``kept``, the share of the pruned layers' weights that is left.
    Limit: none that is common; client i's model is m_i ⊙ x, and x itself is what is evaluated.
    Departures: the accuracy is that on the client's own examples, for want of others; on problems without classes it
    counts as reached. ``ratio`` means nothing: every layer loses the same share.
    """

    fresh = ()

    share: float = option(0.1, "share of a layer's weights that a client prunes at a time", above=0, below=1)
    threshold: float = option(0.5, "accuracy τ from which a client prunes", at_least=0, at_most=1)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        everything = torch.ones(1, start.layout.size, dtype=torch.bool)
        if role == "server":
            return {"x": start.x, "tickets": everything.repeat(ctx.registered, 1)}
        return {"mask": everything, "start": start.x[None]}

    def broadcast(self, server: State, ctx: Context) -> Message:
        mine = server["tickets"][ctx.ids]
        return {"x": Ragged.of(server["x"].expand(len(mine), -1), mine)}

    hear = Strategy.hear

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        mask, layers = client["mask"], self.layers(ctx.layout)
        x = unpacked(heard["x"], mask)
        pruned = self.pruned(x, mask, ~(task.accuracy(x) < self.threshold), layers)
        mask = mask & ~pruned
        here = torch.where(pruned.any(1, keepdim=True), torch.where(mask, client["start"], 0), x)
        local = self.train(here, mask, task)
        cost = Cost.of(task, mask, local.steps, self.momentum)
        change = Ragged.of(here + local.change - x, mask)
        left = {"@kept": Scalars(_left(mask, layers)[:, None])}
        return {**client, "mask": mask}, {"dx": change, "pruned": Mask(pruned), **cost.message(), **left}

    def pruned(self, x: Tensor, mask: Tensor, ready: Tensor, layers: Sequence[Field]) -> Tensor:
        """What clients prune, ``[C, d]`` bool, of the models ``x`` on ``mask``, both ``[C, d]``; ``ready [C]`` may."""
        may = ready & (_left(mask, layers) > self.density)
        counts = [mask[:, layer.slice].sum(1) for layer in layers]
        return smallest(x, mask, layers, [(self.share * count).long() * may for count in counts])

    def judge(self, client: State, x: Tensor, task: Task, new: Tensor, ctx: Context) -> dict[str, Tensor]:
        return {"personal_accuracy": task.own_accuracy(torch.where(client["mask"], x, 0))}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        pruned = cast("Mask", inbox.payload("pruned")).marks
        tickets = server["tickets"][inbox.senders] & ~pruned
        change = at_marks(cast("Ragged", inbox.payload("dx")), tickets)
        return {
            "x": server["x"] + self.server_lr * mean_of_holders(inbox, change, self.by),
            "tickets": server["tickets"].index_copy(0, inbox.senders, tickets),
        }


def _left(mask: Tensor, layers: Sequence[Field]) -> Tensor:
    """The share of the weights of these layers that is left, ``[C]`` float64."""
    kept = sum((mask[:, layer.slice].sum(1) for layer in layers), torch.zeros(len(mask)))
    return kept.double() / sum(layer.size for layer in layers)
