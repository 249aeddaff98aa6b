"""Rounds without a server whose clients are blocks on workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from torch import Tensor

from fedsparse.engine.block import MEAN, Workload
from fedsparse.engine.blocks import Blocks
from fedsparse.engine.calls import MixCall, as_array
from fedsparse.engine.exchange import Exchange
from fedsparse.engine.gossip.judging import Model, models_in
from fedsparse.engine.gossip.mail import Post
from fedsparse.engine.gossip.meeting import means as means_of
from fedsparse.engine.gossip.rounds import GossipRounds, Messages
from fedsparse.engine.gossip.shelf import lay_out
from fedsparse.engine.plan import Plan
from fedsparse.engine.slab import Ids
from fedsparse.engine.slots import SlotStore

__all__ = ["WorkerGossip"]


class WorkerGossip(GossipRounds):
    """The rounds of a simulation.

    Args:
        plan: what is run.
        workload: what the clients optimise (the driver's own copy).
        blocks: runs blocks of clients on workers.
        states: slots of the clients' states.
    """

    def __init__(self, plan: Plan, workload: Workload, blocks: Blocks, states: SlotStore) -> None:
        super().__init__(plan, workload, blocks, states)
        self._blocks = blocks

    def _mix(
        self,
        exchange: Exchange,
        post: Post,
        parts: Messages,
        late: Messages,
        means: Mapping[str, Tensor],
    ) -> None:
        ctx = exchange.ctx
        letters, shared = lay_out(parts, "letter")
        overdue, more = lay_out(late, "late")
        shared |= more | {MEAN + name: as_array(value) for name, value in means.items()}
        calls = [
            MixCall(ctx.round, ctx.phase, exchange.number, ctx.now, mail, letters, overdue)
            for mail in post.cut(self._blocks.cut(post.speakers))
        ]
        for mixed in self._blocks.mix(shared, calls):
            self._blocks.commit(mixed, np.ones(len(mixed.call.ids), dtype=bool))

    def _means(self, speakers: Ids, parts: Messages) -> dict[str, Tensor]:
        return means_of(speakers, parts, self._blocks.share)

    def _models(self, number: int) -> Iterable[Model]:
        """The clients' models as of the end of a round, in ascending order."""
        ctx = self._context(number, "evaluate", np.zeros(0, dtype=np.int64))
        return models_in(self._strategy.at(number, self.plan.rounds), self._states, ctx, self.workload.start)

    def _survey(self, number: int, chosen: Ids) -> list[dict[str, float]]:
        """Metrics of the own models of the ``chosen`` clients."""
        return self._blocks.survey(number, self._clock.now_ns / 1e9, chosen)
