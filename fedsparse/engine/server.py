"""Synchronous rounds of a server and its clients."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedsparse.aggregate import Inbox, Mean
from fedsparse.archive import under
from fedsparse.engine.block import BUFFERS, Workload, dense_nbytes
from fedsparse.engine.blocks import Answer, ServerWork
from fedsparse.engine.calls import MessageShape, TrainReply, as_array
from fedsparse.engine.checks import check_finite, check_said, check_same, check_some_finite
from fedsparse.engine.downlink import WHOLE, Downlink, Said
from fedsparse.engine.eligible import eligible_of, sizes_for
from fedsparse.engine.exchange import Exchange, asked, checked_phases, context_of
from fedsparse.engine.gates import Gates
from fedsparse.engine.heard import Heard, Word
from fedsparse.engine.plan import Plan
from fedsparse.engine.slab import Ids
from fedsparse.engine.slots import SlotStore
from fedsparse.engine.tally import Tally
from fedsparse.engine.traffic import Cost, Delivery, Traffic
from fedsparse.errors import ProtocolError
from fedsparse.lazy import cached_property
from fedsparse.message import Dense, Payload
from fedsparse.protocol import Context, State, Strategy
from fedsparse.records import Record
from fedsparse.rng import NOBODY
from fedsparse.wire import ENVELOPE_BYTES, message_nbytes

__all__ = ["Server"]


class Server:
    """The server's side of a run: its state between rounds, and how a round is made.

    Args:
        plan: what is run.
        workload: what the clients optimise (the driver's own copy).
        blocks: the clients' work.
        states: slots of the clients' states.
        helds: slots of what each client holds, where each holds its own.

    Raises:
        ConfigError: the cohort cannot be drawn.

    Attributes:
        state: the strategy's server state.
        held: what all clients hold in common.
        buffers: BatchNorm statistics ``[b]``.
    """

    def __init__(
        self, plan: Plan, workload: Workload, blocks: ServerWork, states: SlotStore, helds: SlotStore
    ) -> None:
        self.plan, self.workload = plan, workload
        plan.sampler.check(plan.cohort, workload.clients, self._sizes)
        self._eligible = eligible_of(plan, workload)
        self._states, self._helds = states, helds
        self._blocks = blocks
        self._traffic = Traffic(plan)
        strategy, start = plan.strategy, workload.start
        self._who = type(strategy).__name__
        self._shared_held = strategy.hears() and strategy.held == "shared"
        first = self._context(0, "init", np.zeros(0, dtype=np.int64))
        self.state: State = dict(strategy.init("server", start, first))
        self.held: State = dict(strategy.init("held", start, first)) if self._shared_held else {}
        self.buffers = start.buffers.clone()
        run = plan.run if plan.encode else None
        self._downlink = Downlink(plan.downlink, plan.seed, self._shared_held, run, strategy.fresh)
        self._shapes: dict[str, MessageShape] = {}

    def round(self, number: int) -> Record:
        """Runs one round and returns its record; after an exception the run can only be resumed from a checkpoint."""
        began = time.perf_counter()
        plan, ledger = self.plan, self._traffic.ledger
        drawn = self._draw(number)
        away = plan.faults.absent(plan.seed, number, drawn)
        tally, heard = Tally(absent=set(drawn[away].tolist())), Heard()
        strategy = plan.strategy.at(number, plan.rounds)
        for k, phase in enumerate(checked_phases(strategy, self._context(number, "", drawn[~away]))):
            exchange = self._exchange(strategy, number, k, phase, drawn, away)
            if exchange is not None:
                self._phase(exchange, heard, tally)
        self._blocks.close_round()
        metrics: dict[str, float] = {}
        if plan.evaluate(number):
            x, buffers = self.evaluated(number)
            metrics = self._blocks.evaluate(self.workload, x, buffers)
            if self.workload.personal:
                metrics |= self._blocks.judge(number, self.workload.clients, x, buffers)
        now = self._traffic.now_ns / 1e9
        return tally.record(number, now, ledger, metrics, time.perf_counter() - began)

    def evaluated(self, number: int) -> tuple[Tensor, Tensor]:
        """:meth:`model`, and the BatchNorm statistics ``[b]`` that it is evaluated with."""
        x, asked = self.model(number), self.plan.calibration
        return x, self._blocks.calibrated(asked, self.workload, x, self.buffers) if asked else self.buffers

    def model(self, number: int) -> Tensor:
        """The parameters to evaluate ``[d]`` or ``[d + f]``, as of the end of round ``number``.

        Raises:
            ProtocolError: the strategy gave something else.
        """
        plan, like = self.plan, self.workload.start.x
        ctx = self._context(number, "evaluate", np.zeros(0, dtype=np.int64))
        x = plan.strategy.at(number, plan.rounds).model(self.state, ctx)
        if not plan.strategy.predicts():
            merged = len(like) + self.workload.start.layout.products.size
            own = x[: len(like)] if isinstance(x, Tensor) and x.shape == (merged,) else x
            check_same(self._who, "model", {"x": own}, {"x": like})
        return x

    # ---- who takes part

    def _draw(self, number: int) -> Ids:
        plan, registered = self.plan, self.workload.clients
        count = plan.deadline.drawn(plan.cohort, self._eligible.population)
        return plan.sampler.draw(plan.seed, number, registered, count, self._sizes)

    @cached_property
    def _able(self) -> Ids:
        """Everybody that can take part, ascending."""
        return self.plan.sampler.able(self.workload.clients, self._sizes)

    @cached_property
    def _sizes(self) -> Ids | None:
        return sizes_for(self.plan.sampler, self.workload)

    def _exchange(
        self, strategy: Strategy, number: int, k: int, phase: str, drawn: Ids, away: np.ndarray
    ) -> Exchange | None:
        """The phase; none where it is for nobody, as for new clients when there are none."""
        audience = strategy.audience(self._context(number, phase, drawn[~away]))
        wanted = asked(self._who, audience, drawn, self._states.seen(drawn), lambda: self._able)
        if not len(wanted):
            return None
        there = wanted if audience == "all" else wanted[~np.isin(wanted, drawn[away])]
        count = len(wanted) if audience == "all" else min(self.plan.cohort, len(wanted))
        return Exchange(strategy, self._context(number, phase, there), k, audience, count)

    # ---- one phase

    def _phase(self, exchange: Exchange, heard: Heard, tally: Tally) -> None:
        traffic, ids = self._traffic, exchange.ids
        said = self._say(exchange)
        down = traffic.deliver("down", exchange, ids) if said.message else Delivery.of_nothing(len(ids))
        shared, resent = self._listen(exchange, said, down.arrived, heard)
        down_cost = self._downlink.cost(said, ids, down.arrived, self.held)
        traffic.book("down", ids, down_cost + resent, down)
        answers = self._train(exchange, np.flatnonzero(down.arrived), said, shared)
        listeners = np.concatenate([ids[:0], *(call.ids for call, _ in answers)])
        silent = np.setdiff1d(ids[down.arrived], listeners)
        self._downlink.catch_up.forget(silent)
        heard.forget(silent)
        up, up_cost = traffic.deliver("up", exchange, listeners), Cost.of([reply for _, reply in answers])
        traffic.book("up", listeners, up_cost, up)
        in_time = traffic.pass_time(
            exchange,
            listeners,
            ((down_cost + resent).total * down.attempts)[np.isin(ids, listeners)],
            np.concatenate([down.attempts[:0], *(reply.examples for _, reply in answers)]),
            up_cost.total * up.attempts,
            up.arrived,
            _measured([reply for _, reply in answers]),
        )
        tally.lost.update([*ids[~down.arrived].tolist(), *listeners[~up.arrived].tolist()])
        tally.late.update([*listeners[up.arrived & ~in_time].tolist(), *silent.tolist()])
        self._accept(exchange, listeners, answers, in_time, tally)

    def _say(self, exchange: Exchange) -> Said:
        ctx, strategy = exchange.ctx, exchange.strategy
        message: dict[str, Payload] = dict(strategy.broadcast(self.state, ctx))
        check_said(self._who, message, len(ctx.ids), self._shared_held)
        for name in message:
            if name == BUFFERS or name.startswith(WHOLE):
                raise ProtocolError(f"{self._who}: the name '{name}' is the machine's; choose another one")
        if strategy.buffers == "average" and len(self.buffers):
            message[BUFFERS] = Dense(self.buffers[None])
        return self._downlink.say(message, ctx.round, ctx.phase, exchange.number)

    def _listen(
        self, exchange: Exchange, said: Said, arrived: np.ndarray, heard: Heard
    ) -> tuple[dict[str, np.ndarray], Cost]:
        """What every worker reads, and what is sent beside the broadcast for it.

        Whoever hears holds what comes of it; others have all that was said in this round's phases.
        """
        ids, width, strategy = exchange.ids, exchange.width, exchange.strategy
        values = dict(said.values)
        resent = Cost.of_nothing(len(ids))
        if self._shared_held:
            statistics = {BUFFERS: values.pop(BUFFERS)} if BUFFERS in values else {}
            everybody = replace(exchange.ctx, ids=torch.tensor([NOBODY]))
            held = dict(strategy.hear(self.held, values, everybody))
            check_same(self._who, "what clients hold,", held, self.held)
            self.held = held
            values = held | statistics
        elif not strategy.hears():
            heard.say({name: _word(said, name) for name in values}, ids, width)
            resent = heard.send(frozenset(values), ids, width, arrived)
            values = heard.values(ids, width)
        return {name: _locked(value) for name, value in values.items()}, resent

    def _train(
        self, exchange: Exchange, at: Ids, said: Said, shared: Mapping[str, np.ndarray]
    ) -> list[Answer]:
        """The work of the audience's members at the positions ``at``; whoever does not answer is left out."""
        del said  # what comes of it is shared
        return self._blocks.train(exchange, at, shared)

    # ---- what comes of it

    def _accept(
        self, exchange: Exchange, ids: Ids, answers: Sequence[Answer], arrived: np.ndarray, tally: Tally
    ) -> None:
        """The gates, the commit of what passed them, and the server's step."""
        parts, masks = self._open(exchange, answers, arrived, tally)
        accepted = np.concatenate([np.zeros(0, dtype=bool), *masks])
        if 0 < accepted.sum() < self.plan.aggregator.least:
            tally.refused.update(dict.fromkeys(ids[accepted].tolist(), "too few for the rule"))
            accepted[:] = False
            masks = [np.zeros_like(mask) for mask in masks]
        for answer, mask in zip(answers, masks, strict=True):
            self._blocks.commit(answer, mask)
        tally.accepted.update(ids[accepted].tolist())
        tally.count(self._who, [reply for _, reply in answers], accepted)
        if accepted.any():
            self._step(exchange, ids[accepted], parts)
            tally.stepped = True
            tally.scalars |= {n[1:]: float(v) for n, v in self.state.items() if n.startswith("@")}

    def _open(
        self, exchange: Exchange, answers: Sequence[Answer], arrived: np.ndarray, tally: Tally
    ) -> tuple[list[Mapping[str, Payload]], list[np.ndarray]]:
        """The messages that pass the gates, and whose they are, block by block; ``arrived`` is for all blocks."""
        phase, limit = exchange.ctx.phase, self.plan.aggregator.max_norm
        gates = Gates(
            self._who, self.plan.run, exchange.ctx.round, exchange.number, self._shapes.get(phase), limit
        )
        parts: list[Mapping[str, Payload]] = []
        masks, first = [], 0
        for call, reply in answers:
            last = first + len(call.ids)
            message, passed = gates.open(reply, call.ids, arrived[first:last])
            masks.append(passed)
            if message:
                parts.append(message)
            first = last
        if gates.shapes is not None:
            self._shapes[phase] = gates.shapes
        tally.refused.update(gates.refused)
        check_some_finite(self._who, int(arrived.sum()), gates.refused, exchange.ctx.round)
        return parts, masks

    def _step(self, exchange: Exchange, senders: Ids, parts: Sequence[Mapping[str, Payload]]) -> None:
        plan, ids = self.plan, torch.from_numpy(senders)
        sizes = self.workload.sizes(ids)
        weights = torch.from_numpy(plan.sampler.coefficients(sizes.numpy()))
        if not float(weights.sum()) > 0:
            weights = torch.ones_like(weights)  # nobody has an example: they all have nothing to say
        weights = weights / weights.sum()
        strategy = exchange.strategy
        inbox = Inbox(ids, sizes, weights, parts, plan.aggregator, strategy.robust, share=self._blocks.share)
        new = dict(strategy.aggregate(self.state, inbox, exchange.ctx))
        check_same(self._who, "server state", new, self.state)
        check_finite(self._who, new, exchange.ctx.round)
        self.state = new
        found = strategy.statistics(self.state, exchange.ctx) if strategy.buffers == "own" else None
        if found is not None:
            check_same(self._who, "statistics", {BUFFERS: found}, {BUFFERS: self.buffers})
            self.buffers = found
        if BUFFERS in parts[0]:
            self.buffers = self.buffers + Inbox(ids, sizes, weights, parts, Mean()).mean(BUFFERS)

    def _context(self, number: int, phase: str, ids: Ids) -> Context:
        return context_of(self.plan, self.workload, self._eligible, number, phase, ids, self._traffic.now_ns)

    # ---- checkpoints

    def arrays(self) -> dict[str, Any]:
        """Everything that the next round depends on, by name; clients' rows in ascending id."""
        known, held_by = self._states.known(), self._helds.known()
        return {
            "now_ns": np.array([self._traffic.now_ns], dtype=np.int64),
            "buffers": as_array(self.buffers),
            **{f"server.{name}": as_array(value) for name, value in self.state.items()},
            **{f"held.{name}": as_array(value) for name, value in self.held.items()},
            **{f"downlink.{name}": value for name, value in self._downlink.state().items()},
            **{f"ledger.{name}": value for name, value in self._traffic.ledger.state().items()},
            "clients": known,
            **{f"client.{name}": rows for name, rows in self._states.stream(known).items()},
            "holders": held_by,
            **{f"holder.{name}": rows for name, rows in self._helds.stream(held_by).items()},
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on from what :meth:`arrays` gave."""
        self._traffic.now_ns = int(arrays["now_ns"][0])
        self.buffers = torch.from_numpy(arrays["buffers"].copy())
        self.state = {n: torch.from_numpy(v.copy()) for n, v in under("server.", arrays).items()}
        self.held = {n: torch.from_numpy(v.copy()) for n, v in under("held.", arrays).items()}
        self._downlink.restore(under("downlink.", arrays))
        self._traffic.ledger.restore(under("ledger.", arrays))
        self._states.write(arrays["clients"], under("client.", arrays))
        self._helds.write(arrays["holders"], under("holder.", arrays))


def _measured(replies: Sequence[TrainReply]) -> Ids | None:
    """How long each client took, ``[C]``, where that was measured."""
    taken = [reply.taken_ns for reply in replies if reply.taken_ns is not None]
    return np.concatenate(taken) if taken else None


def _locked(value: Tensor) -> np.ndarray:
    """What is heard, read-only: a strategy that writes to it gets a copy, not the server's own memory."""
    view = as_array(value).view()
    view.flags.writeable = False
    return view


def _word(said: Said, name: str) -> Word:
    """A value that is sent again to whoever missed it, unless it is part of a replica, which is brought up to date."""
    payload = said.message[name]
    if name in said.replicated:
        nothing = np.zeros(1, dtype=np.int64)
        return Word(said.values[name], nothing, nothing, 0)
    length, around = message_nbytes({name: payload})
    return Word(
        said.values[name], length.numpy(), around.numpy() - ENVELOPE_BYTES, dense_nbytes({name: payload})
    )
