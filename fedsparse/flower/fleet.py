"""The clients of a run as devices: a phase goes out as orders, and comes back as answers that may be anything."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor

from fedsparse.cohort.calibration import Calibration, mean_of
from fedsparse.engine.block import Workload
from fedsparse.engine.blocks import Answer as BlockAnswer
from fedsparse.engine.blocks import personal_metrics
from fedsparse.engine.calls import TrainCall
from fedsparse.engine.eligible import eligible_of
from fedsparse.engine.exchange import Exchange, context_of
from fedsparse.engine.gates import Open
from fedsparse.engine.plan import Plan
from fedsparse.engine.slab import Ids
from fedsparse.engine.slots import SlotStore
from fedsparse.errors import ProtocolError, WorkerError
from fedsparse.flower.judging import question, verdicts
from fedsparse.flower.letters import NEVER, Order, Stamp, Telling
from fedsparse.flower.mail import Mailing
from fedsparse.flower.opened import Kind, opened_of, reply_of
from fedsparse.flower.post import Post, Returned, Terms
from fedsparse.flower.teller import Broadcast, Teller
from fedsparse.wire import decode_message

__all__ = ["LAST", "Fleet", "ServerFleet"]

LAST = 999
"""A number that no exchange of a round reaches."""


class Fleet:
    """What all fleets of devices are, in the place of :class:`~fedsparse.engine.blocks.Blocks`.

    Args:
        plan: what is run.
        post: the way to them.
        accepted: of each client, the exchange of which its answer was accepted last.
        patience: seconds that an answer may take.
        real: time is what passes here, and not what the network model says.
        read: opens what devices send, or only what is around its payloads.
    """

    def __init__(
        self,
        plan: Plan,
        post: Post,
        accepted: SlotStore,
        patience: float,
        real: bool,
        read: Open = decode_message,
    ) -> None:
        self.run = plan.run
        self._read = read
        self._plan, self._post, self._accepted = plan, post, accepted
        self._patience, self._real = patience, real
        self._saved: dict[int, Stamp] = {}
        self._safe = NEVER
        self._life = secrets.randbits(63)
        self._kinds: dict[str, Kind] = {}

    _silence: ClassVar[bool] = False
    """Whether a device may say nothing."""

    # ---- what a run asks of its blocks

    def commit(self, answer: BlockAnswer, accepted: np.ndarray) -> None:
        """The next order tells the device."""
        if accepted.all():
            self._write(answer.call.ids, Stamp(answer.call.round, answer.call.number))

    def close_round(self) -> None:
        """Nothing is left of a round but what devices keep."""

    def evaluate(self, workload: Workload, x: Tensor, buffers: Tensor) -> dict[str, float]:
        """Metrics of the model ``x [d]`` with statistics ``buffers [b]``, computed by the server."""
        predict = self._plan.strategy.predict
        return workload.metrics(
            [workload.evaluate(x, buffers, chunk, predict) for chunk in range(workload.chunks)]
        )

    def calibrated(self, asked: Calibration, workload: Workload, x: Tensor, buffers: Tensor) -> Tensor:
        """BatchNorm statistics ``[b]`` of the model ``x [d]`` by itself, computed by the server."""
        predict, minibatches = self._plan.strategy.predict, range(workload.minibatches(asked))
        return mean_of(workload.calibrated(x, buffers, asked, k, predict) for k in minibatches)

    def share(self, work: Sequence[Callable[[], None]]) -> None:
        """The server's own work, which nobody shares."""
        for part in work:
            part()

    # ---- checkpoints

    def saved(self, number: int) -> None:
        """A checkpoint was made after round ``number``: devices can go back to it, and need to no further."""
        self._safe = Stamp(number, LAST)
        self._saved = {int(client): self._stamp(int(client)) for client in self._accepted.known()}

    # ---- orders

    def _write(self, ids: Ids, stamp: Stamp) -> None:
        """These clients' answers in an exchange count."""
        rows = {name: np.full(len(ids), value, dtype=np.int64) for name, value in stamp._asdict().items()}
        self._accepted.write(ids, rows)

    def _stamp(self, client: int) -> Stamp:
        rows = self._accepted.rows(np.array([client], dtype=np.int64))
        return Stamp(int(rows["round"][0]), int(rows["number"][0]))

    def _order(
        self,
        exchange: Exchange,
        stamp: Stamp,
        client: int,
        *,
        audible: tuple[str, ...] = (),
        told: tuple[Telling, ...] = (),
        mail: Mailing | None = None,
    ) -> Order:
        """What one of the audience is asked to do."""
        ctx = exchange.ctx
        return Order(
            run=self.run,
            client=client,
            stamp=stamp,
            phase=ctx.phase,
            now=ctx.now,
            accepted=self._stamp(client),
            saved=self._saved.get(client, NEVER),
            safe=self._safe,
            life=self._life,
            population=ctx.population,
            total=ctx.total,
            audible=audible,
            told=told,
            mail=mail,
        )

    def _check(self, exchange: Exchange, ids: Sequence[int], returned: Mapping[int, Returned]) -> None:
        """Raises WorkerError where all have failed."""
        failed = {c: r.reason for c, r in returned.items() if r.content is None}
        if failed and len(failed) == len(ids):
            client, reason = min(failed.items())
            raise WorkerError(
                f"all {len(ids)} devices failed in round {exchange.ctx.round}; client {client}: {reason}"
            )

    # ---- answers

    def _answers(
        self, exchange: Exchange, answered: Mapping[int, Returned], place: Mapping[int, int]
    ) -> list[BlockAnswer]:
        opened = {c: opened_of(c, returned.content, self._read) for c, returned in answered.items()}
        phase = exchange.ctx.phase
        if phase not in self._kinds:
            kinds = Counter(
                found.kind for found in opened.values() if found.message or (found.silent and self._silence)
            )
            if not kinds:
                return []
            # Of the first answers most are what our own code sends; the others are refused.
            self._kinds[phase] = kinds.most_common(1)[0][0]
        made = []
        for client, returned in answered.items():
            ids, at = np.array([client], dtype=np.int64), np.array([place[client]], dtype=np.int64)
            call = TrainCall(exchange.ctx.round, phase, exchange.number, exchange.ctx.now, ids, at)
            taken = np.array([returned.taken_ns], dtype=np.int64) if self._real else None
            made.append(BlockAnswer(call, reply_of(opened[client], self._kinds[phase], taken)))
        return made


class ServerFleet(Fleet):
    """Devices that hear a server; arguments as of :class:`Fleet`.

    Args:
        teller: what they are told.
        workload: for sizes.
    """

    def __init__(
        self,
        plan: Plan,
        post: Post,
        teller: Teller,
        workload: Workload,
        accepted: SlotStore,
        patience: float,
        real: bool,
    ) -> None:
        super().__init__(plan, post, accepted, patience, real)
        self.teller, self._workload = teller, workload
        self._eligible = eligible_of(plan, workload)
        self._broadcast: Broadcast | None = None

    def say(self, broadcast: Broadcast) -> None:
        """What the next :meth:`train` is about."""
        self._broadcast = broadcast
        self.teller.say(broadcast)

    def train(self, exchange: Exchange, at: Ids, shared: Mapping[str, np.ndarray]) -> list[BlockAnswer]:
        """Asks the audience's members at the positions ``at``; those who answer in time, ascending.

        Raises:
            WorkerError: all of them failed, or one whom the phase cannot do without did not answer.
        """
        del shared  # devices work it out
        broadcast = self._broadcast
        if broadcast is None:
            raise ProtocolError("an exchange without a broadcast")
        ids = exchange.ids[at].tolist()
        orders = {client: self._told(broadcast, client).content() for client in ids}
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

    def judge(self, number: int, clients: int, x: Tensor, buffers: Tensor) -> dict[str, float]:
        """Metrics of the devices one by one, each tested by itself; of those that answer in time.

        Args:
            number: the round.
            clients: how many there are.
            x: the model ``[d]``.
            buffers: its statistics ``[b]``.

        Raises:
            WorkerError: all of them failed.
        """
        ids = np.arange(clients, dtype=np.int64)
        ctx = context_of(self._plan, self._workload, self._eligible, number, "judge", ids)
        exchange = Exchange(self._plan.strategy, ctx, 0, "cohort", clients)
        told, stamp = (question(self.run, number, x, buffers),), Stamp(number, LAST - 1)
        orders = {
            client: self._order(exchange, stamp, client, told=told).content() for client in ids.tolist()
        }
        returned = self._post.ask(orders, Terms(clients, self._patience), "evaluate")
        super()._check(exchange, ids.tolist(), returned)
        found = verdicts(returned)
        self._post.counted["refused_verdicts"] += sum(
            r.content is not None and client not in found for client, r in returned.items()
        )
        there = np.array(sorted(found), dtype=np.int64)
        names = next(iter(found.values()), {})
        values = {name: np.array([found[client][name] for client in there.tolist()]) for name in names}
        return personal_metrics(values, ~self._accepted.seen(there))

    def _told(self, broadcast: Broadcast, client: int) -> Order:
        told = self.teller.told(broadcast, client)
        return self._order(broadcast.exchange, broadcast.stamp, client, audible=broadcast.audible, told=told)

    def _terms(self, exchange: Exchange, count: int) -> Terms:
        if exchange.complete or not self._real:
            return Terms(count, self._patience)
        deadline = self._plan.deadline.deadline
        return Terms(min(count, exchange.wanted), self._patience if deadline is None else deadline)

    def _check(self, exchange: Exchange, ids: Sequence[int], returned: Mapping[int, Returned]) -> None:
        super()._check(exchange, ids, returned)
        silent = sorted(set(ids) - {c for c, r in returned.items() if r.content is not None})
        if exchange.complete and silent:
            raise WorkerError(
                f"phase '{exchange.ctx.phase}' of round {exchange.ctx.round} needs every client, and client "
                f"{silent[0]} did not answer within engine.patience={self._patience:g} s; "
                "bring it back and resume the run"
            )
