"""Sparse gossip with a few rounds in which everybody meets: when to spend the communication."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from fedsparse.gossip import Gossip, Neighbours, Stochastic
from fedsparse.message import Dense
from fedsparse.options import option
from fedsparse.protocol import Audience, Context, Message, Role, Start, State, Task, Vectors


@dataclass(frozen=True)
class SingleMerging(Gossip):
    """Decentralized SGD with global merges (Zhu, Zhang, Wang, Zhou, Wang, ICLR 2026, arXiv:2507.06542).

    "A Single Merging Suffices" asks when communication should be spent.

    Update of client i with K = ``steps`` local steps of size η = ``lr``, in round t of T::

        y_i = x_i;   K times:  y_i <- y_i - η g_i(y_i)
        between merges, gossip=true:    x_i <- sum_j W_ij y_j
        between merges, gossip=false:   x_i <- y_i                     nothing is sent
        in a round that merges:         x_i <- 1/n sum_j y_j           by an all-reduce
        with B = calibration > 0:       s_i <- 1/n sum_j s_j(x_j)      BatchNorm statistics of B minibatches, likewise

    ``merge`` says which rounds merge: ``never``; the ``last`` one; those ``early`` or ``late``, the first or last
    ``window`` T; as many, spread ``evenly``; or ``always``. The paper's gossip is ``topology=pull topology.peers=0.2``,
    and its single global merging is ``merge=last``. The models' mean is evaluated in every round anyway, as
    ``accuracy_of_average``; what it is above ``accuracy`` is the mergeability gap.

    State: x. Sent: d values to each neighbour; 2 d (n-1)/n values in a merge, in which nothing gets lost.
    Elsewhere a message that is lost gives its weight to the receiver's own.

    With ``calibration=0`` statistics of BatchNorm are averaged like the models in a merge, too: they are then those of
    the models before it, and not of their mean. Calibration is a second exchange, of the statistics and one number.

    Departure: optimiser state begins anew in each round.
    """

    stochastic: ClassVar[Stochastic] = "row"

    lr: float = option(0.1, "step size η", above=0)
    steps: int = option(1, "local steps K", at_least=1)
    momentum: float = option(0.0, "heavy-ball weight, zero at the start of each round", at_least=0, below=1)
    weight_decay: float = option(0.0, "L2 penalty of the local steps", at_least=0)
    gossip: bool = option(True, "whether clients gossip in the rounds between merges")
    merge: str = option(
        "last", "rounds that merge all models", choices=("never", "last", "early", "late", "evenly", "always")
    )
    window: float = option(0.1, "share of the rounds that merge early, late or evenly", above=0, at_most=1)
    calibration: int = option(
        0, "minibatches B for new BatchNorm statistics after a merge; 0: they are averaged", at_least=0
    )

    def phases(self, ctx: Context) -> tuple[str, ...]:
        if self._merges(ctx):
            return ("merge", "calibrate") if self.calibration else ("merge",)
        return ("train",) if self.gossip else ("alone",)

    def audience(self, ctx: Context) -> Audience:
        return "all" if ctx.phase in {"merge", "calibrate"} else "cohort"

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        return {"x": start.x[None]}

    def client_update(self, client: State, heard: State, task: Task, ctx: Context) -> tuple[State, Message]:
        if ctx.phase == "calibrate":
            task.calibrate(client["x"], self.calibration)
            # Statistics go along with a message; this one has their number of minibatches.
            return client, {"minibatches": Dense(torch.full_like(client["x"][:, :1], self.calibration))}
        x = task.sgd(
            client["x"], lr=self.lr, steps=self.steps, momentum=self.momentum, weight_decay=self.weight_decay
        ).x
        return {"x": x}, {} if ctx.phase == "alone" else {"x": Dense(x)}

    def aggregate(self, client: State, inbox: Neighbours, ctx: Context) -> State:
        return client if ctx.phase == "calibrate" else {"x": inbox.mix("x")}

    def communication(self, size: int) -> tuple[Vectors, ...]:
        merge = (Vectors(up=1, everyone=True), *((Vectors(everyone=True),) if self.calibration else ()))
        usual = (Vectors(up=1),) if self.gossip else ()
        if self.merge in {"never", "always"}:
            return usual if self.merge == "never" else merge
        if self.merge == "last":
            return (*usual, *(replace(e, round=-1) for e in merge))
        return (
            *(replace(e, probability=self.window) for e in merge),
            *(replace(e, probability=1 - self.window) for e in usual),
        )

    def _merges(self, ctx: Context) -> bool:
        """Whether this round is one of those that merge; there are round(window T) of them, at least one."""
        count = max(1, round(self.window * ctx.rounds))
        left = ctx.rounds - ctx.round
        return {
            "never": False,
            "last": left == 1,
            "early": ctx.round < count,
            "late": left <= count,
            # The k-th of them ends its share of the rounds, so that the last round is one.
            "evenly": (ctx.round + 1) * count // ctx.rounds > ctx.round * count // ctx.rounds,
            "always": True,
        }[self.merge]
