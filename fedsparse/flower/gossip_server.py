"""Rounds without a server whose clients are devices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from fedsparse.archive import under
from fedsparse.engine.block import Workload
from fedsparse.engine.exchange import Exchange
from fedsparse.engine.gates import Gates
from fedsparse.engine.gossip.backlog import Backlog
from fedsparse.engine.gossip.judging import Model
from fedsparse.engine.gossip.mail import Post
from fedsparse.engine.gossip.rounds import GossipRounds, Messages, queued
from fedsparse.engine.plan import Plan
from fedsparse.engine.slab import Ids
from fedsparse.engine.slots import SlotStore
from fedsparse.engine.tally import Tally
from fedsparse.errors import WorkerError
from fedsparse.flower.neighbourhood import Neighbourhood
from fedsparse.message import Payload
from fedsparse.records import Record
from fedsparse.wire import Limits, Sealed, pass_on

__all__ = ["DeviceGossip"]

_NUMBER = 8
"""Bytes of the longest number."""

_SLACK = 1 << 16
"""Bytes of a message beside its numbers."""


class DeviceGossip(GossipRounds):
    """Who hears whom, of devices; what they say is passed on and not opened.

    Args:
        plan: what is run.
        workload: for sizes and for evaluation.
        devices: the devices.
        accepted: of each client, the exchange of which its answer was accepted last.
        overhead: what is on the way in Flower's own form.
    """

    def __init__(
        self,
        plan: Plan,
        workload: Workload,
        devices: Neighbourhood,
        accepted: SlotStore,
        overhead: Callable[[], Mapping[str, int]],
    ) -> None:
        super().__init__(plan, workload, devices, accepted)
        self._devices, self._overhead = devices, overhead
        self._shown: tuple[int, dict[int, Model]] | None = None

    def round(self, number: int) -> Record:
        """As in a simulation, with what was on the way in Flower's own form."""
        self._shown = None
        return replace(super().round(number), flower=self._overhead())

    # ---- messages

    def _new_backlog(self) -> Backlog:
        return Backlog(queued(self._strategy), _sealed)

    def _gates(self, exchange: Exchange) -> Gates:
        """Of a message only the envelope is looked at; the rest is for those who get it."""
        shapes, start = self._shapes.get(exchange.ctx.phase), self.workload.start
        size = max(start.x.numel(), start.buffers.numel())
        names = 1 if shapes is None else len(shapes)
        most = 2 * _NUMBER * size * names + _SLACK if shapes else 1 << 31
        key = (self.plan.run, exchange.ctx.round, exchange.number)
        return Gates(self._who, *key, shapes, None, Limits(size, most), pass_on)

    def _phase(self, exchange: Exchange, tally: Tally) -> None:
        super()._phase(exchange, tally)
        tally.refused.update(self._devices.refused)  # what neighbours could not use in the exchange before
        self._devices.refused.clear()

    def _means(self, speakers: Ids, parts: Messages) -> dict[str, Tensor]:
        del speakers, parts  # devices work them out
        return {}

    def _mix(
        self,
        exchange: Exchange,
        post: Post,
        parts: Messages,
        late: Messages,
        means: Mapping[str, Tensor],
    ) -> None:
        del parts, means
        found = {
            name: payload for part in late for name, payload in part.items() if isinstance(payload, Sealed)
        }
        self._devices.deliver(exchange, post.cut(self._devices.cut(post.speakers)), found)

    # ---- evaluation

    def _shown_models(self, number: int) -> dict[int, Model]:
        if self._shown is None or self._shown[0] != number:
            ctx = self._context(number, "evaluate", np.arange(self.workload.clients, dtype=np.int64))
            strategy = self._strategy.at(number, self.plan.rounds)
            exchange = Exchange(strategy, ctx, 0, "cohort", self.workload.clients)
            self._shown = (number, self._devices.models(exchange))
        return self._shown[1]

    def _models(self, number: int) -> Iterable[Model]:
        return self._shown_models(number).values()

    def _survey(self, number: int, chosen: Ids) -> list[dict[str, float]]:
        models, predict = self._shown_models(number), self._strategy.at(number, self.plan.rounds).predict
        there = [client for client in chosen.tolist() if client in models]
        if not there:
            raise WorkerError(
                f"none of the {len(chosen)} devices whose models are evaluated is there in round {number}; bring "
                "them back and resume the run"
            )
        workload = self.workload
        return [
            workload.metrics(
                [workload.evaluate(*models[client], chunk, predict) for chunk in range(workload.chunks)]
            )
            for client in there
        ]

    # ---- checkpoints

    def arrays(self) -> dict[str, Any]:
        """Everything that the next round depends on, but what the devices keep."""
        mail = {f"mail.{name}": value for name, value in self._devices.arrays().items()}
        return {**super().arrays(), **mail, "run": np.array([self.plan.run], dtype=np.int64)}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on from what :meth:`arrays` gave."""
        super().restore(arrays)
        self.plan = replace(self.plan, run=int(arrays["run"][0]))
        self._devices.run = self.plan.run
        self._devices.restore(under("mail.", arrays))


def _sealed(data: bytes, limits: Limits) -> Payload:
    del limits
    return Sealed((data,))
