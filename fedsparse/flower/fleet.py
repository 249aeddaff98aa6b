"""Devices with a server: a phase goes out as orders with what it says, and comes back as answers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from fedsparse.engine.blocks import Answer
from fedsparse.engine.exchange import Exchange
from fedsparse.engine.plan import Plan
from fedsparse.engine.slab import Ids
from fedsparse.engine.slots import SlotStore
from fedsparse.errors import ProtocolError
from fedsparse.flower.devices import Devices
from fedsparse.flower.letters import NEVER, Order, Stamp
from fedsparse.flower.line import Meter
from fedsparse.flower.post import Post
from fedsparse.flower.teller import Broadcast, Teller

__all__ = ["Fleet"]


class Fleet(Devices):
    """The devices, in the place of :class:`~fedsparse.engine.blocks.Blocks`.

    Args:
        plan: what is run.
        post: the way to them.
        teller: what they are told.
        accepted: of each client, the exchange of which its answer was accepted last.
        patience: seconds that an answer may take.
        meter: of what passes on the line, where that is measured.
        real: time is what passes here, and not what the network model says.
    """

    def __init__(
        self,
        plan: Plan,
        post: Post,
        teller: Teller,
        accepted: SlotStore,
        patience: float,
        meter: Meter | None,
        real: bool,
    ) -> None:
        super().__init__(plan, post, accepted, patience, meter, real)
        self.teller = teller
        self._broadcast: Broadcast | None = None

    # ---- what a server asks of its blocks

    def say(self, broadcast: Broadcast) -> None:
        """What the next :meth:`train` is about."""
        self._broadcast = broadcast
        self.teller.say(broadcast)

    def train(self, exchange: Exchange, at: Ids, shared: Mapping[str, np.ndarray]) -> list[Answer]:
        """Asks the audience's members at the positions ``at``; those who answer in time, ascending.

        Raises:
            WorkerError: all of them failed, or one whom the phase cannot do without did not answer.
        """
        del shared  # devices work it out
        broadcast = self._broadcast
        if broadcast is None:
            raise ProtocolError("an exchange without a broadcast")
        ids = exchange.ids[at].tolist()
        orders = {client: self._order(broadcast, client).content() for client in ids}
        returned = self._post.ask(orders, self._terms(exchange, len(ids)))
        self._check(exchange, ids, returned)
        answered = {c: r for c, r in sorted(returned.items()) if r.content is not None}
        for client in ids:
            if client in answered:
                self.teller.heard(broadcast, client)
            else:
                self.teller.forget(client)
        place = dict(zip(ids, at.tolist(), strict=True))
        return self._answers(exchange, answered, place)

    def commit(self, answer: Answer, accepted: np.ndarray) -> None:
        """The next order tells the device."""
        if accepted.all():
            self._accept(answer.call.ids, Stamp(answer.call.round, answer.call.number))

    def judge(self, number: int, clients: int, x: Tensor, buffers: Tensor) -> dict[str, float]:
        """Devices are not tested by themselves."""
        del number, clients, x, buffers
        raise ProtocolError("devices are not tested by themselves; leave personal out")

    def _order(self, broadcast: Broadcast, client: int) -> Order:
        ctx = broadcast.exchange.ctx
        return Order(
            run=self.run,
            client=client,
            stamp=broadcast.stamp,
            phase=ctx.phase,
            now=ctx.now,
            accepted=self._stamp(client),
            saved=self._saved.get(client, NEVER),
            safe=self._safe,
            life=self._life,
            total=ctx.total,
            audible=broadcast.audible,
            told=self.teller.told(broadcast, client),
        )
