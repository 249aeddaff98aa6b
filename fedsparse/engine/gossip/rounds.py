"""Rounds without a server: every client trains, sends to its neighbours, and mixes what it hears."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedsparse.archive import under
from fedsparse.engine.block import Workload
from fedsparse.engine.blocks import Answer, Work
from fedsparse.engine.calls import MessageShape
from fedsparse.engine.checks import check_some_finite
from fedsparse.engine.eligible import eligible_of
from fedsparse.engine.exchange import Exchange, checked_phases, context_of
from fedsparse.engine.gates import Gates
from fedsparse.engine.gossip.backlog import Backlog
from fedsparse.engine.gossip.clock import Clock
from fedsparse.engine.gossip.edges import Edges, Flags
from fedsparse.engine.gossip.judging import Model, average, judged
from fedsparse.engine.gossip.mail import Post
from fedsparse.engine.gossip.toll import Toll
from fedsparse.engine.plan import Plan
from fedsparse.engine.slab import Ids
from fedsparse.engine.slots import SlotStore
from fedsparse.engine.tally import Tally
from fedsparse.engine.traffic import Cost
from fedsparse.errors import ProtocolError
from fedsparse.gossip import Delivery, Gossip
from fedsparse.graphs import Matrices
from fedsparse.message import Payload, concatenate
from fedsparse.protocol import Context, State
from fedsparse.records import Record

__all__ = ["GossipRounds", "Messages", "queued"]

Messages = Sequence[Mapping[str, Payload]]


class GossipRounds(ABC):
    """The run between two rounds, and how a round is made, wherever the clients are.

    Args:
        plan: what is run; has ``matrices``, and a :class:`~fedsparse.gossip.Gossip` strategy.
        workload: what the clients optimise (the driver's own copy).
        work: the clients.
        states: slots of the clients' states.
    """

    def __init__(self, plan: Plan, workload: Workload, work: Work, states: SlotStore) -> None:
        if plan.matrices is None or not isinstance(plan.strategy, Gossip):
            raise ProtocolError("gossip needs a topology and a strategy for it")
        self.plan, self.workload = plan, workload
        self._matrices: Matrices = plan.matrices
        self._strategy: Gossip = plan.strategy
        self._eligible = eligible_of(plan, workload)
        self._states, self._work = states, work
        self._who = type(plan.strategy).__name__
        self._clock = Clock(plan, workload.clients)
        self._toll = Toll(plan, workload.clients)
        self._backlog = self._new_backlog()
        self._shapes: dict[str, MessageShape] = {}
        self._edges: tuple[int, Edges] | None = None

    def round(self, number: int) -> Record:
        """Runs one round and returns its record; after an exception the run can only be resumed from a checkpoint."""
        began = time.perf_counter()
        plan, ledger = self.plan, self._toll.ledger
        everyone = np.arange(self.workload.clients, dtype=np.int64)
        away = plan.faults.absent(plan.seed, number, everyone)
        tally = Tally(absent=set(everyone[away].tolist()))
        strategy, there = self._strategy.at(number, plan.rounds), everyone[~away]
        phases = checked_phases(strategy, self._context(number, "", there)) if len(there) else ()
        for k, phase in enumerate(phases):
            ctx = self._context(number, phase, there)
            audience = strategy.audience(ctx)
            if audience not in {"cohort", "all"}:
                raise ProtocolError(
                    f"{self._who}: audience gave {audience!r}; without a server it is 'cohort', which are the "
                    "neighbours, or 'all'"
                )
            self._phase(Exchange(strategy, ctx, k, audience, len(there)), tally)
        self._work.close_round()
        metrics: dict[str, float] = {}
        if plan.evaluate(number):
            metrics = self._evaluate(number)
        now = self._clock.now_ns / 1e9
        return tally.record(number, now, ledger, metrics, time.perf_counter() - began)

    def evaluated(self, number: int) -> tuple[Tensor, Tensor]:
        """:meth:`model`, and the BatchNorm statistics ``[b]`` that it is evaluated with."""
        (x, buffers), asked = self._average(number), self.plan.calibration
        return x, self._work.calibrated(asked, self.workload, x, buffers) if asked else buffers

    def model(self, number: int) -> Tensor:
        """The mean of the clients' models ``[d]``, as of the end of round ``number``."""
        return self._average(number)[0]

    @property
    def state(self) -> State:
        """What a server would have: the mean of the clients' models."""
        return {"x": self.model(self.plan.rounds - 1)}

    def _new_backlog(self) -> Backlog:
        return Backlog(queued(self._strategy))

    # ---- one phase

    def _phase(self, exchange: Exchange, tally: Tally) -> None:
        ids = exchange.ids
        answers = self._work.train(exchange, np.arange(len(ids)), {})
        exchange = _answered(exchange, answers, tally)
        if not answers:
            return
        ids, replies = exchange.ids, [reply for _, reply in answers]
        self._clock.work(ids, np.concatenate([reply.examples for reply in replies]), exchange.ctx.round)
        if not any(reply.shapes for reply in replies):
            everybody = np.ones(len(ids), dtype=bool)
            self._commit(answers, everybody)
            tally.count(self._who, replies, everybody)
            tally.accepted.update(ids.tolist())
            tally.stepped = True
            return
        parts, speaks = self._open(exchange, answers, tally)
        self._commit(answers, speaks)
        tally.count(self._who, replies, speaks)
        tally.accepted.update(ids[speaks].tolist())
        if parts:
            self._deliver(exchange, ids[speaks], parts, Cost.of(replies))
            tally.stepped = True

    def _open(self, exchange: Exchange, answers: Sequence[Answer], tally: Tally) -> tuple[Messages, Flags]:
        """The messages that are in order, block by block, and whose they are, ``[C]`` bool."""
        phase, gates = exchange.ctx.phase, self._gates(exchange)
        parts, masks = [], []
        for call, reply in answers:
            message, passed = gates.open(reply, call.ids, np.ones(len(call.ids), dtype=bool))
            masks.append(passed)
            if message:
                parts.append(message)
        if gates.shapes is not None:
            self._shapes[phase] = gates.shapes
        tally.refused.update(gates.refused)
        check_some_finite(self._who, len(exchange.ids), gates.refused, exchange.ctx.round)
        return parts, np.concatenate(masks)

    def _gates(self, exchange: Exchange) -> Gates:
        """What the messages of a phase have to pass."""
        shapes = self._shapes.get(exchange.ctx.phase)
        key = (self.plan.run, exchange.ctx.round, exchange.number)
        return Gates(self._who, *key, shapes, self.plan.aggregator.max_norm)

    def _commit(self, answers: Sequence[Answer], accepted: Flags) -> None:
        first = 0
        for answer in answers:
            last = first + len(answer.call.ids)
            self._work.commit(answer, accepted[first:last])
            first = last

    def _deliver(self, exchange: Exchange, speakers: Ids, parts: Messages, cost: Cost) -> None:
        """Messages go to the neighbours, who make their new states of them.

        Args:
            exchange: the phase.
            speakers: whose messages are in order, ascending ``[S]``.
            parts: their messages.
            cost: of the messages of all who are there.
        """
        if exchange.audience == "all":
            self._meet(exchange, speakers, parts, cost)
            return
        ctx, edges = exchange.ctx, self._links(exchange.ctx.round)
        there, speaks = (_flags(ids, edges.clients) for ids in (exchange.ids, speakers))
        sent = there[edges.senders] & there[edges.receivers]
        lost = self._lost(ctx, edges, sent)
        heard = sent & ~lost & speaks[edges.senders] & speaks[edges.receivers]
        owed = self._backlog.owed(edges, parts[0])
        nbytes = self._toll.links(exchange, cost, edges, sent, lost, owed)
        self._clock.exchange(exchange.ids, edges.select(sent), ~lost[sent], nbytes[sent], ctx.round)
        late, letters = self._backlog.arrive(edges, heard, parts[0])
        missing = ~heard & speaks[edges.senders]
        for name, payloads in self._owing(parts, missing).items():
            rows = np.searchsorted(speakers, edges.senders)
            self._backlog.owe(name, edges, missing, np.where(speaks[edges.senders], rows, -1), payloads)
        post = Post(edges, heard, speakers, self._kinds(parts[0]), late)
        self._mix(exchange, post, parts, [letters] if letters else [], {})

    def _meet(self, exchange: Exchange, speakers: Ids, parts: Messages, cost: Cost) -> None:
        """Everybody hears everybody, by an all-reduce; arguments as of :meth:`_deliver`."""
        nbytes, steps = self._toll.meeting(exchange, cost, parts)
        self._clock.meet(exchange.ids, nbytes, steps, exchange.ctx.round)
        nobody = Edges(*(np.zeros(0, dtype=np.int64),) * 2, np.zeros(0), np.zeros(self.workload.clients))
        post = Post(nobody, np.zeros(0, dtype=bool), speakers, (), {}, everyone=True)
        self._mix(exchange, post, parts, [], self._means(speakers, parts))

    def _lost(self, ctx: Context, edges: Edges, sent: Flags) -> Flags:
        """Which messages get lost of those that are ``sent``, ``[E]`` each."""
        faults, lost = self.plan.faults, np.zeros(len(edges), dtype=bool)
        if faults.link_loss:
            at = np.flatnonzero(sent)
            senders, receivers = edges.senders[at], edges.receivers[at]
            lost[at] = faults.lost_links(ctx.seed, ctx.round, ctx.phase, senders, receivers, edges.clients)
        return lost

    @abstractmethod
    def _mix(
        self,
        exchange: Exchange,
        post: Post,
        parts: Messages,
        late: Messages,
        means: Mapping[str, Tensor],
    ) -> None:
        """Clients make their new states of what they have heard.

        Args:
            exchange: the phase.
            post: who heard what.
            parts: the messages.
            late: those of earlier phases that arrive now; nothing, or one batch.
            means: by name, the mean of all messages ``[1, d]``, where all have heard all.
        """

    def _owing(self, parts: Messages, missing: Flags) -> dict[str, Payload]:
        """All messages of the names that are sent again, where one is missing."""
        if not self._backlog or not missing.any():
            return {}
        names = [name for name in parts[0] if self._strategy.delivery.get(name) == "queued"]
        return {name: concatenate([part[name] for part in parts]) for name in names}

    @abstractmethod
    def _means(self, speakers: Ids, parts: Messages) -> dict[str, Tensor]:
        """By name, the mean of all messages ``[1, d]``; nothing where clients find it themselves."""

    def _kinds(self, message: Mapping[str, Payload]) -> list[Delivery]:
        return sorted({self._strategy.delivery.get(name, "latest") for name in message})

    def _links(self, number: int) -> Edges:
        """The links of a round; those of a graph that never changes are made once."""
        t = number % (self._matrices.period or number + 1)
        if self._edges is None or self._edges[0] != t:
            self._edges = (t, Edges.of(self._matrices.weights(number)))
        return self._edges[1]

    # ---- evaluation

    def _average(self, number: int) -> tuple[Tensor, Tensor]:
        return average(self._models(number), self.workload.start)

    @abstractmethod
    def _models(self, number: int) -> Iterable[Model]:
        """The clients' models as of the end of a round, in ascending order."""

    def _evaluate(self, number: int) -> dict[str, float]:
        clients = self.workload.clients
        count = min(self.plan.judged or clients, clients)
        chosen = np.unique(np.linspace(0, clients - 1, count).round().astype(np.int64))
        own = self._survey(number, chosen)
        x, buffers = self.evaluated(number)
        of_average = self._work.evaluate(self.workload, x, buffers)
        return judged(own, of_average, self._models(number), x)

    @abstractmethod
    def _survey(self, number: int, chosen: Ids) -> list[dict[str, float]]:
        """Metrics of the own models of the ``chosen`` clients."""

    def _context(self, number: int, phase: str, ids: Ids) -> Context:
        return context_of(self.plan, self.workload, self._eligible, number, phase, ids, self._clock.now_ns)

    # ---- checkpoints

    def arrays(self) -> dict[str, Any]:
        """Everything that the next round depends on, by name; clients' rows in ascending id."""
        known = self._states.known()
        return {
            "clock": self._clock.at.copy(),
            **{f"backlog.{name}": value for name, value in self._backlog.state().items()},
            **{f"ledger.{name}": value for name, value in self._toll.ledger.state().items()},
            "clients": known,
            **{f"client.{name}": rows for name, rows in self._states.stream(known).items()},
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on from what :meth:`arrays` gave."""
        self._clock.at = arrays["clock"].copy()
        self._backlog.restore(under("backlog.", arrays))
        self._toll.ledger.restore(under("ledger.", arrays))
        self._states.write(arrays["clients"], under("client.", arrays))


def queued(strategy: Gossip) -> list[str]:
    """The names of messages that are not given up when they get lost."""
    return [name for name, kind in strategy.delivery.items() if kind == "queued"]


def _answered(exchange: Exchange, answers: Sequence[Answer], tally: Tally) -> Exchange:
    """The phase among those who answered: who did not is not there."""
    ids = np.concatenate([exchange.ids[:0], *(answer.call.ids for answer in answers)])
    if len(ids) == len(exchange.ids):
        return exchange
    tally.late.update(np.setdiff1d(exchange.ids, ids).tolist())
    return replace(exchange, ctx=replace(exchange.ctx, ids=torch.from_numpy(ids)))


def _flags(ids: Ids, clients: int) -> Flags:
    found = np.zeros(clients, dtype=bool)
    found[ids] = True
    return found
