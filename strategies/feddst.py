"""FedDST: every client moves the mask while it trains, and the server averages what is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from fedsparse.masks import (
    Cost,
    MovingMask,
    best,
    counts_of,
    everywhere,
    marked,
    mean_of_holders,
    moved,
    new_seed,
    positions,
    prune_and_grow,
    seeded_mask,
    share_at,
)
from fedsparse.message import Sparse
from fedsparse.options import option
from fedsparse.protocol import Context, Field, Inbox, Message, Start, State, Task

MOVE = "move"


@dataclass(frozen=True)
class FedDST(MovingMask):
    """FedDST (Bibikar, Vikalo, Wang, Chen, AAAI 2022, arXiv:2112.09824).

    With m a random mask of ρ = ``density`` in the proportions of ``ratio``, k its weights, η_l = ``lr``,
    η_g = ``server_lr``, p_i by ``weighting``, K = ``steps`` (or ``epochs``) local steps, of which ⌊K / 2⌋ come first::

        client:   y_i = x;   K times:  y_i <- y_i - η_l m ⊙ g_i(y_i);     send y_i - x on m
        server:   x <- x + η_g sum_i p_i (y_i - x)
        every ``every`` rounds until ``stop``:
        client:   the first steps on m;
                  m_i = m without the a_l smallest |y_i|, and with the a_l largest |g_i(y_i)| outside of m, at zero, in
                  each layer l of n_l weights, a_l = ⌊``share`` (1 + cos(π r / stop)) / 2 n_l⌋
                  the other steps on m_i;   send y_i - x on m_i, and m_i
        server:   x_j <- x_j + η_g sum_{i: j in m_i} p_i (y_i - x)_j / sum_{i: j in m_i} p_i;
                  m = the k largest |x| of what any m_i has

    Sent: both ways the values on the mask, and down the positions that changed; up, in rounds that move it, also the
    positions of m_i. Clients keep no state. Records ``flops`` and ``device_bytes``, with the dense gradient in those.
    Limit: none; while the mask moves so does what is minimised.
    Choices where accounts differ: the server's k largest are taken over all layers together, or with ``layerwise`` as
    many in each layer as there were. Departures: a weight without a gradient does not grow, and then as many fewer are
    pruned. With ``epochs`` both parts go through the examples in the same order.
    """

    every: int = option(10, "rounds from one move of the mask to the next", at_least=1)
    stop: int = option(100, "round from which the mask stays", at_least=1)
    share: float = option(0.3, "share of each layer's weights that move at first", at_least=0, at_most=1)
    layerwise: bool = option(False, "whether the server keeps the number of weights of each layer")

    def phases(self, ctx: Context) -> tuple[str, ...]:
        due = ctx.round % self.every == 0 and ctx.round <= self.stop
        return (MOVE,) if due else ("train",)

    def first_mask(self, start: Start, ctx: Context) -> Tensor:
        layout = start.layout
        return seeded_mask(new_seed(ctx), layout, self.layers(layout), self.counts(layout))

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        if ctx.phase != MOVE:
            return super().client_update(client, heard, task, ctx)
        x, mask = heard["x"].expand(len(ctx.ids), -1), heard["mask"].expand(len(ctx.ids), -1)
        layers, early = self.layers(ctx.layout), self.length // 2
        first = self.train(x, mask, task, early)
        before = task.examples.clone()
        slope = task.grad(first.x, step=early)
        probed = task.examples - before
        move = prune_and_grow(first.x, mask, slope, layers, self.moving(heard["mask"][0], layers, ctx.round))
        own, here = moved(mask, move.grown, move.pruned), torch.where(move.pruned, 0, first.x)
        second = self.train(here, own, task, self.length - early, early)
        cost = Cost.of(task, mask, first.steps + second.steps, self.momentum, probed)
        cost = cost.with_gradient(ctx.layout, mask, layers, probed, _bytes(layers, x))
        return {}, {"dx": marked(here + second.change - x, own), **cost.message()}

    def moving(self, mask: Tensor, layers: Sequence[Field], round: int) -> list[int]:  # noqa: A002
        """a_l, how many weights of each layer move in ``round``."""
        share = share_at(self.share, round, self.stop)
        return [int(share * count) for count in counts_of(mask, layers)]

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        if ctx.phase != MOVE:
            return super().aggregate(server, inbox, ctx)
        sent = cast("Sparse", inbox.payload("dx"))
        x = server["x"] + self.server_lr * mean_of_holders(inbox, sent, self.by)
        return self.settled(server, x, self.chosen(x, positions(sent).any(0), server["mask"], ctx))

    def chosen(self, x: Tensor, held: Tensor, mask: Tensor, ctx: Context) -> Tensor:
        """The mask ``[d]`` of the largest ``x [d]`` among the weights that somebody holds, ``held [d]``."""
        layers = self.layers(ctx.layout)
        always = everywhere(ctx.layout, layers)
        if not self.layerwise:
            return always | best(x.abs(), held & ~always, sum(counts_of(mask, layers)))
        for layer, count in zip(layers, counts_of(mask, layers), strict=True):
            always[layer.slice] = best(x[layer.slice].abs(), held[layer.slice], count)
        return always


def _bytes(layers: Sequence[Field], x: Tensor) -> int:
    """Of a dense gradient of these layers."""
    return x.element_size() * sum(layer.size for layer in layers)
