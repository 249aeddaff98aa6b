"""PruneFL: from time to time the mask is chosen anew, by squared gradients of all weights for their time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.masks import Cost, MovingMask, best, everywhere, magnitude_mask, share_at, taken
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Context, Inbox, Message, Start, State, Task

RECONFIGURE = "reconfigure"


@dataclass(frozen=True)
class PruneFL(MovingMask):
    """PruneFL (Jiang, Wang, Valls, Ko, Lee, Leung, Tassiulas, TNNLS 2022, arXiv:1909.12326), with a fixed density.

    With k = ρ n weights (ρ = ``density``), t_j the time of weight j, K = ``steps`` (or ``epochs``), η_l = ``lr``,
    η_g = ``server_lr`` and p_i by ``weighting``::

        client:   y_i = x;   K times:  y_i <- y_i - η_l m ⊙ g_i(y_i);     send y_i - x on m
                  every ``every`` rounds until ``stop``:   send g_i(y_i)² of one minibatch, of all weights
        server:   x <- x + η_g sum_i p_i (y_i - x)
                  then:  keep the k - c weights of largest |x|;  for the other c places, of all other weights, there or
                  not, take those of largest (sum_i p_i g_i²)_j / t_j;  c = ⌊k ``share`` (1 + cos(π r / stop)) / 2⌋

    New weights start at zero. t_j is the number of multiplications that the weight takes part in, or 1 (``timed``).

    Sent: both ways the values on m, and down the positions that changed; in rounds that reconfigure, up one value for
    each weight of the pruned layers, there or not. Clients keep no state. Records ``flops`` and ``device_bytes``: then
    a device computes and keeps a dense gradient.
    Limit: none; while the mask moves so does what is minimised.
    Departures: the paper's density follows from its time model, it is fixed here so that methods can be compared at the
    same size; its first mask is made by one client that trains alone, here it is by magnitude, in the proportions of
    ``ratio``; squares are those of one minibatch, not summed over the local steps. Weights without a gradient are not
    taken; the largest of those that were there stay instead.
    """

    every: int = option(10, "rounds from one reconfiguration to the next", at_least=1)
    stop: int = option(100, "round from which the mask stays", at_least=1)
    share: float = option(0.3, "share of the weights that may change at first", at_least=0, at_most=1)
    timed: bool = option(True, "whether a weight's score is divided by its multiplications")

    def phases(self, ctx: Context) -> tuple[str, ...]:
        due = ctx.round % self.every == 0 and ctx.round <= self.stop
        return (RECONFIGURE,) if due else ("train",)

    def first_mask(self, start: Start, ctx: Context) -> Tensor:
        layout = start.layout
        return magnitude_mask(start.x, layout, self.layers(layout), self.counts(layout))

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        if ctx.phase != RECONFIGURE:
            return super().client_update(client, heard, task, ctx)
        local, layers = self.train(heard["x"], heard["mask"], task), self.layers(ctx.layout)
        cost, before = Cost.of(task, heard["mask"], local.steps, self.momentum), task.examples.clone()
        squares = task.grad(local.x, slices=[layer.slice for layer in layers]).square()
        kept = squares.shape[1] * squares.element_size()
        cost = cost.with_gradient(ctx.layout, heard["mask"], layers, task.examples - before, kept)
        return {}, {"dx": taken(local.change, heard["mask"][0]), "squares": Dense(squares), **cost.message()}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        x = self.averaged(server, inbox)
        if ctx.phase != RECONFIGURE:
            return self.settled(server, x, server["mask"])
        scores = torch.zeros_like(x)
        squares = inbox.mean("squares", by=self.by)
        layers = self.layers(ctx.layout)
        for layer, part in zip(layers, squares.split([layer.size for layer in layers]), strict=True):
            scores[layer.slice] = part / max(1, layer.positions) if self.timed else part
        share = share_at(self.share, ctx.round, self.stop)
        return self.settled(server, x, self.chosen(x, scores, server["mask"], share, ctx))

    def chosen(self, x: Tensor, scores: Tensor, mask: Tensor, share: float, ctx: Context) -> Tensor:
        """The new mask ``[d]`` for the model ``x`` and the ``scores``, both ``[d]``."""
        layers = self.layers(ctx.layout)
        always = everywhere(ctx.layout, layers)
        total = int(mask.sum() - always.sum())
        free = int(share * total)
        kept = best(x.abs(), mask & ~always, total - free)
        kept |= best(scores, (scores > 0) & ~kept, free)
        return always | kept | best(x.abs(), mask & ~kept & ~always, total - int(kept.sum()))
