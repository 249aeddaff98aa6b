"""FedTiny: a sparse model is chosen by the clients' BatchNorm statistics, and then pruned and grown block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.masks import (
    Cost,
    MovingMask,
    counts_of,
    forward_flops,
    in_blocks,
    largest_inactive,
    magnitude_mask,
    moved,
    prune_and_grow,
    share_at,
    shared_out,
    taken,
)
from fedsparse.message import Dense, Mask, Scalars
from fedsparse.options import option
from fedsparse.protocol import Audience, Context, Field, Inbox, Layout, Message, Role, Start, State, Task

STATISTICS, VOTE, ADJUST = "statistics", "vote", "adjust"


@dataclass(frozen=True)
class FedTiny(MovingMask):
    """FedTiny (Huang, Zhang, Sun, Fang, Yuan, Wu, ICDCS 2023, arXiv:2212.01977).

    θ_0 is the start, ρ = ``density``, C = ``pool``, p_i by ``weighting``, D_i a minibatch of client i, w_i its share of
    all clients' D_i. *Adaptive BatchNorm selection*, once, with all clients, where C > 1::

        server:   for c = 1 .. C:   ρ_c^l = ρ^l (1 + e), e uniform within ± ``noise`` (0 for the first), scaled so that
                  all layers l together keep ρ;   θ_c = θ_0 on the ρ_c^l n^l largest |θ_0| of each layer
        client:   means μ and variances σ² of D_i in every BatchNorm layer of θ_c; weights as they are
        server:   μ_c = sum_i w_i μ_ic,   σ²_c = sum_i w_i σ²_ic             exact: + sum_i w_i (μ_ic - μ_c)²
        client:   loss of every θ_c on D_i with (μ_c, σ²_c)
        server:   goes on with the θ_c of least sum_i w_i loss_ic, and with its statistics

    *Progressive pruning*, with K = ``steps`` (or ``epochs``), η_l = ``lr``, η_g = ``server_lr``::

        client:   y_i = x;   K times:  y_i <- y_i - η_l m ⊙ g_i(y_i);     send y_i - x on m
        server:   x <- x + η_g sum_i p_i (y_i - x);  BatchNorm statistics likewise
        every ``every`` rounds until ``stop``, for the layers l of one block B, from the output to the input in turn:
                  a_l = ⌊``share`` (1 + cos(π r / stop)) / 2 n_l⌋,  n_l weights there are
        client:   sends the a_l largest |g_i(y_i)| of one minibatch where there is no weight
        server:   grows the a_l largest |sum_i p_i g_i| of these, at zero, and prunes the a_l smallest |x| of those that
                  were there before

    ``blocks`` = 1 moves the whole model at a time, a large number layer by layer. C = 1, ``share`` = 0: a fixed mask.

    Sent: both ways the values on m and BatchNorm statistics; down the positions that changed; in rounds that adjust, up
    a_l values with their positions for each layer of B. For the selection: down the union of all θ_c, C numbers for
    each layer, C times the statistics; up C times the statistics, C losses, twice |D_i|. The θ_c are nested, so they
    follow from the union and their sizes; sent one by one they would take nearly C times as much.
    Clients keep no state. Records ``flops`` and ``device_bytes`` of the rounds; of the selection ``statistics_flops``
    and ``vote_flops``. Limit: none; while the mask moves so does what is minimised.
    Departures and choices: the text of the paper was not at hand for all of it. The server's training of θ_0 on public
    data is whatever the run starts from. The first and the last layer are not pruned unless ``ends``. Time in a_l is
    rounds. A gradient of zero does not grow, and then as many fewer are pruned.
    """

    buffers = "own"
    fresh = ("x", "counts", "pooled", "statistics")

    ratio: str = option(
        "uniform", "densities ρ^l of layers relative to each other", choices=("uniform", "er", "erk")
    )
    pool: int = option(6, "candidates C that clients choose from", at_least=1)
    noise: float = option(
        0.9, "largest relative change of a layer's density in a candidate", at_least=0, below=1
    )
    bn_pool: str = option("mean", "how variances are pooled", choices=("mean", "exact"))
    every: int = option(10, "rounds from one adjustment to the next", at_least=1)
    stop: int = option(100, "round from which the mask stays", at_least=1)
    share: float = option(0.3, "share of a layer's weights that moves at first", at_least=0, at_most=1)
    blocks: int = option(5, "blocks of layers that are adjusted in turn", at_least=1)

    def phases(self, ctx: Context) -> tuple[str, ...]:
        due = self.share > 0 and ctx.round % self.every == 0 and ctx.round <= self.stop
        selection = (STATISTICS, VOTE) if ctx.round == 0 and self.pool > 1 else ()
        return (*selection, ADJUST if due else "train")

    def audience(self, ctx: Context) -> Audience:
        return "all" if ctx.phase in (STATISTICS, VOTE) else "cohort"

    # ---- states

    def first_mask(self, start: Start, ctx: Context) -> Tensor:
        layout = start.layout
        return magnitude_mask(start.x, layout, self.layers(layout), self.counts(layout))

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        if role == "client":
            return {}
        counts, b = self.candidates(ctx, start.layout), len(start.buffers)
        state = {**super().init(role, start, ctx), "pooled": start.buffers.new_zeros(self.pool * b)}
        state |= {"counts": counts.flatten(), "statistics": start.buffers}
        if role == "held":
            return {name: value if value.dim() == 2 else value[None] for name, value in state.items()}
        return {**state, "start": start.x, "means": _means(start.buffer_layout)}

    def candidates(self, ctx: Context, layout: Layout) -> Tensor:
        """Weights of each layer in each candidate, ``[C, layers]`` float64; the first is the one without noise."""
        sizes, plain = [layer.size for layer in self.layers(layout)], self.counts(layout)
        noise = ctx.shared("pool").uniform(-self.noise, self.noise, (self.pool - 1, len(sizes)))
        densities = [n / size for n, size in zip(plain, sizes, strict=True)]
        noisy = [
            shared_out([d * (1 + e) for d, e in zip(densities, row, strict=True)], sizes, sum(plain))
            for row in noise.tolist()
        ]
        return torch.tensor([plain, *noisy], dtype=torch.float64)

    def statistics(self, state: State, ctx: Context) -> Tensor:
        return state["statistics"]

    def _masks(self, x: Tensor, counts: Tensor, layout: Layout) -> list[Tensor]:
        """The masks ``[d]`` of these ``counts [n, layers]`` of the largest weights of ``x [d]``."""
        layers = self.layers(layout)
        return [magnitude_mask(x, layout, layers, row) for row in counts.long().tolist()]

    def _union(self, server: State, layout: Layout) -> Tensor:
        """What any candidate has, ``[d]``: they are nested."""
        most = server["counts"].view(self.pool, -1).amax(0, keepdim=True)
        return self._masks(server["start"], most, layout)[0]

    # ---- messages

    def broadcast(self, server: State, ctx: Context) -> Message:
        if ctx.phase == VOTE:
            return {"pooled": Dense(server["pooled"][None])}
        if ctx.phase != STATISTICS:
            return {**super().broadcast(server, ctx), "statistics": Dense(server["statistics"][None])}
        union = self._union(server, ctx.layout)
        news = {"grown": Mask(union[None]), "pruned": Mask(torch.zeros_like(union)[None])}
        counts = Scalars(server["counts"][None])
        return {"x": taken(server["start"][None], union), **news, "counts": counts}

    def hear(self, held: State, said: State, ctx: Context) -> State:
        whole = {name: said[name] for name in ("counts", "pooled", "statistics") if name in said}
        return {**(held if ctx.phase == VOTE else super().hear(held, said, ctx)), **whole}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        if ctx.phase in (STATISTICS, VOTE):
            return {}, self._selection(heard, task, ctx)
        x, mask = heard["x"], heard["mask"]
        local = self.train(x, mask, task, buffers=heard["statistics"])
        moves = {"statistics": Dense(local.buffers - heard["statistics"])}
        cost, trained = Cost.of(task, mask, local.steps, self.momentum), task.examples.clone()
        if ctx.phase == ADJUST:
            layers, counts = self.moving(mask[0], ctx)
            slope = torch.zeros_like(local.x)
            parts = task.grad(local.x, slices=[layer.slice for layer in layers])
            for layer, part in zip(layers, parts.split([layer.size for layer in layers], 1), strict=True):
                slope[:, layer.slice] = part
            moves["gradient"] = largest_inactive(slope, mask, layers, counts)
            kept = sum(counts) * (4 + x.element_size())
            cost = cost.with_gradient(ctx.layout, mask, layers, task.examples - trained, kept)
        return {}, {"dx": taken(local.change, mask[0]), **moves, **cost.message()}

    def _selection(self, heard: State, task: Task, ctx: Context) -> Message:
        masks = self._masks(heard["x"][0], heard["counts"].view(self.pool, -1), ctx.layout)
        models = [torch.where(mask, heard["x"], 0) for mask in masks]
        size = task.inputs(0)[1].to(torch.float64)[:, None]
        flops = sum(forward_flops(ctx.layout, mask[None]) for mask in masks) * size
        message = {"size": Scalars(size), f"@{ctx.phase}_flops": Scalars(flops)}
        if ctx.phase == STATISTICS:
            found = [task.statistics(model, 0) for model in models]
            return {**message, "statistics": Dense(torch.cat(found, 1))}
        pooled = heard["pooled"].view(self.pool, 1, -1)
        losses = [task.loss(model, buffers, 0) for model, buffers in zip(models, pooled, strict=True)]
        # A loss that is not a number is no vote for a candidate.
        votes = torch.stack(losses, 1).double().nan_to_num(nan=torch.finfo(torch.float64).max)
        return {**message, "votes": Scalars(votes)}

    def moving(self, mask: Tensor, ctx: Context) -> tuple[tuple[Field, ...], list[int]]:
        """The layers of the block that is due, and a_l, how many of the weights on ``mask [d]`` move in each."""
        blocks = in_blocks(self.layers(ctx.layout), self.blocks)
        layers = blocks[-1 - ctx.round // self.every % len(blocks)]
        share = share_at(self.share, ctx.round, self.stop)
        return layers, [int(share * count) for count in counts_of(mask, layers)]

    # ---- the server

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        if ctx.phase == STATISTICS:
            return {**server, "pooled": self._pooled(server, inbox)}
        if ctx.phase == VOTE:
            return self._chosen(server, inbox, ctx)
        x, mask = self.averaged(server, inbox), server["mask"]
        if ctx.phase == ADJUST:
            layers, counts = self.moving(mask, ctx)
            slope = inbox.mean("gradient", by=self.by)
            move = prune_and_grow(x[None], mask[None], slope[None], layers, counts)
            mask = moved(mask, move.grown[0], move.pruned[0])
        statistics = server["statistics"] + inbox.mean("statistics", by=self.by)
        return {**self.settled(server, x, mask), "statistics": statistics}

    def _pooled(self, server: State, inbox: Inbox) -> Tensor:
        """The candidates' statistics over all clients, ``[C b]``."""
        found = inbox.stack("statistics").to(server["pooled"]).view(len(inbox.senders), self.pool, -1)
        weights = _shares(inbox).to(found)[:, None, None]
        pooled = (weights * found).sum(0)
        if self.bn_pool == "exact":
            spread = (weights * (found - pooled).square()).sum(0)
            of = server["means"]
            pooled[:, of >= 0] += spread[:, of[of >= 0]]
        return pooled.flatten()

    def _chosen(self, server: State, inbox: Inbox, ctx: Context) -> State:
        """The candidate that the clients like best."""
        votes = (_shares(inbox)[:, None] * inbox.stack("votes")).sum(0)
        best = int(votes.argmin())
        counts = server["counts"].view(self.pool, -1)[best : best + 1]
        mask = self._masks(server["start"], counts, ctx.layout)[0]
        news = {"grown": torch.zeros_like(mask), "pruned": self._union(server, ctx.layout) & ~mask}
        statistics = server["pooled"].view(self.pool, -1)[best]
        return {
            **server,
            "x": torch.where(mask, server["start"], 0),
            "mask": mask,
            **news,
            "statistics": statistics,
        }


def _shares(inbox: Inbox) -> Tensor:
    """w_i, the clients' shares of the examples that they looked at, ``[M]`` float64."""
    sizes = inbox.stack("size")[:, 0]
    return sizes / sizes.sum()


def _means(layout: Layout) -> Tensor:
    """For each statistic that is a variance, where its mean is; -1 for others, ``[b]`` int64."""
    found = torch.full((layout.size,), -1)
    names: Sequence[str] = [field.name for field in layout]
    for name in names:
        mean = name.replace("running_var", "running_mean")
        if mean != name and mean in names:
            found[layout[name].slice] = torch.arange(layout.size)[layout[mean].slice]
    return found
