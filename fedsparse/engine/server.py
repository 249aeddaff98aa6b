"""Synchronous rounds of a server and its clients."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedsparse.aggregate import Aggregator, Inbox, Mean
from fedsparse.compress import Compressor
from fedsparse.engine.block import BUFFERS, Workload
from fedsparse.engine.calls import EvaluateCall, TrainCall, TrainReply, as_array
from fedsparse.engine.checks import MessageShape, check_said, check_same
from fedsparse.engine.dispatch import Dispatcher
from fedsparse.engine.downlink import Downlink, Said
from fedsparse.engine.faults import Faults
from fedsparse.engine.gates import Gates
from fedsparse.engine.sampling import Sampler
from fedsparse.engine.slots import SlotStore
from fedsparse.errors import ProtocolError
from fedsparse.ledger import Ledger
from fedsparse.message import Dense, Payload
from fedsparse.network import NEVER, Deadline, Network, finish_times
from fedsparse.protocol import Context, State, Strategy
from fedsparse.records import Record

__all__ = ["Plan", "Server"]

_RETRIES = 1000
"""Attempts to reach a client that must be reached, before it is called unreachable."""


@dataclass(frozen=True)
class Plan:
    """What is run; everything here is part of the result, the number of workers is not.

    Attributes:
        strategy: the algorithm.
        seed: names all random streams.
        rounds: how many.
        cohort: clients drawn for each round.
        block: clients that a worker trains together.
        sampler: draws the cohort.
        aggregator: rule for robust message names.
        downlink: compressor of broadcasts.
        network: seconds for bytes and examples.
        deadline: what keeps slow clients from holding up a round.
        faults: absent clients, lost messages.
        encode: really encode and decode every message.
        evaluate: whether a round ends with an evaluation.
        run: 64-bit number of the run, for envelopes.
    """

    strategy: Strategy
    seed: int
    rounds: int
    cohort: int
    block: int
    sampler: Sampler
    aggregator: Aggregator
    downlink: Compressor
    network: Network
    deadline: Deadline
    faults: Faults
    encode: bool
    evaluate: Callable[[int], bool]
    run: int


@dataclass
class _Tally:
    """What a round adds up to, over its phases."""

    lost: set[int] = field(default_factory=set)
    late: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    accepted: set[int] = field(default_factory=set)
    rejected: Counter[str] = field(default_factory=Counter)
    scalars: dict[str, float] = field(default_factory=dict)
    gradient_calls: int = 0
    examples: int = 0
    loss: float = math.nan
    skipped: bool = False


class Server:
    """The server's side of a run: its state between rounds, and how a round is made.

    Args:
        plan: what is run.
        workload: what the clients optimise (the driver's own copy).
        dispatcher: runs blocks on workers.
        states: slots of the clients' states.
        helds: slots of what each client holds, where each holds its own.
    """

    def __init__(
        self, plan: Plan, workload: Workload, dispatcher: Dispatcher, states: SlotStore, helds: SlotStore
    ) -> None:
        self.plan, self.workload = plan, workload
        self._dispatcher, self._states, self._helds = dispatcher, states, helds
        self._who = type(plan.strategy).__name__
        strategy, start = plan.strategy, workload.start
        self.now_ns = 0
        first = self._context(0, "init", np.zeros(0, dtype=np.int64))
        self.state: State = dict(strategy.init("server", start, first))
        self.held: State = dict(strategy.init("held", start, first)) if strategy.hears() else {}
        self.buffers = start.buffers.clone()
        self.ledger = Ledger()
        self._shared_held = strategy.hears() and strategy.held == "shared"
        self._downlink = Downlink(plan.downlink, plan.seed, self._shared_held)
        self._shapes: dict[str, MessageShape] = {}

    def round(self, number: int) -> Record:
        """Runs one round and returns its record; on an exception the state is what it was before the last phase."""
        began = time.perf_counter()
        plan = self.plan
        drawn = self._draw(number)
        away = plan.faults.absent(plan.seed, number, drawn)
        present = drawn[~away]
        tally = _Tally()
        heard: dict[str, Tensor] = {}
        ctx = self._context(number, "", present)
        for k, phase in enumerate(plan.strategy.at(number, plan.rounds).phases(ctx)):
            self._phase(number, k, phase, present, heard, tally)
        self._states.close_round()
        self._helds.close_round()
        metrics = self._evaluate(number) if plan.evaluate(number) else {}
        spared = tally.accepted | tally.refused
        return Record(
            round=number,
            virtual_s=self.now_ns / 1e9,
            cohort=len(drawn),
            accepted=len(tally.accepted),
            lost=len(tally.lost - spared),
            late=len(tally.late - spared),
            absent=int(away.sum()),
            rejected=dict(tally.rejected),
            skipped=tally.skipped,
            traffic=self.ledger.round(),
            traffic_total=self.ledger.total(),
            gradient_calls=tally.gradient_calls,
            examples=tally.examples,
            train_loss=tally.loss,
            metrics=metrics,
            scalars=tally.scalars,
            wall_s=time.perf_counter() - began,
        )

    # ---- who takes part

    def _draw(self, number: int) -> np.ndarray:
        plan, population = self.plan, self.workload.clients
        sizes = self.workload.sizes(torch.arange(population)).numpy() if plan.sampler.needs_sizes else None
        wanted = plan.deadline.drawn(plan.cohort, population)
        return plan.sampler.draw(plan.seed, number, population, wanted, sizes)

    def _audience(self, ctx: Context, present: np.ndarray) -> tuple[np.ndarray, bool]:
        """Clients of a phase, ascending, and whether all of them must be reached."""
        who = self.plan.strategy.audience(ctx)
        if who == "all":
            return np.arange(self.workload.clients, dtype=np.int64), True
        if who == "new":
            return present[~self._states.seen(present)], False
        if who != "cohort":
            raise ProtocolError(f"{self._who}: audience '{who}' is unknown; there are 'cohort', 'all' and 'new'")
        return present, False

    # ---- one phase

    def _phase(
        self, number: int, k: int, phase: str, present: np.ndarray, heard: dict[str, Tensor], tally: _Tally
    ) -> None:
        plan = self.plan
        strategy = plan.strategy.at(number, plan.rounds)
        audience, complete = self._audience(self._context(number, phase, present), present)
        if not len(audience):
            tally.skipped = True
            return
        ctx = self._context(number, phase, audience)
        said = self._say(strategy, ctx)
        attempts_down = self._attempts("down", number, phase, audience, complete)
        received = attempts_down > 0
        self._charge_down(said, audience, np.abs(attempts_down), received)
        listeners = audience[received]
        tally.lost.update(audience[~received].tolist())
        shared = self._shared(strategy, said, ctx, heard)
        replies = self._train(number, k, phase, audience, np.flatnonzero(received), shared)
        if not replies:
            tally.skipped = True
            return
        attempts_up = self._attempts("up", number, phase, listeners, complete)
        arrived = attempts_up > 0
        in_time = self._pass_time(number, said, listeners, replies, np.abs(attempts_up), arrived, complete)
        self._charge_up(replies, listeners, np.abs(attempts_up), arrived)
        tally.lost.update(listeners[~arrived].tolist())
        tally.late.update(listeners[arrived & ~in_time].tolist())
        self._accept(strategy, ctx, k, listeners, replies, arrived & in_time, tally)

    def _say(self, strategy: Strategy, ctx: Context) -> Said:
        message: dict[str, Payload] = dict(strategy.broadcast(self.state, ctx))
        check_said(self._who, message, len(ctx.ids))
        if BUFFERS in message:
            raise ProtocolError(f"{self._who}: the name '{BUFFERS}' is the machine's; choose another one")
        if strategy.buffers == "average" and len(self.buffers):
            message[BUFFERS] = Dense(self.buffers[None])
        if not message:
            return Said({}, {}, 0)
        return self._downlink.say(message, ctx.round, ctx.phase)

    def _shared(
        self, strategy: Strategy, said: Said, ctx: Context, heard: dict[str, Tensor]
    ) -> dict[str, np.ndarray]:
        """What every worker reads: all that was heard in this round's phases, or what is held."""
        if self._shared_held:
            values = {n: v for n, v in said.values.items() if n != BUFFERS}
            one = replace(ctx, ids=torch.full((1,), -1, dtype=torch.int64))
            found = dict(strategy.hear(self.held, values, one))
            check_same(self._who, "what clients hold,", found, self.held)
            self.held = found
            heard.clear()
            heard.update(found | {n: v for n, v in said.values.items() if n == BUFFERS})
        else:
            heard.update(said.values)
        return {name: as_array(value) for name, value in heard.items()}

    def _attempts(
        self, direction: Any, number: int, phase: str, ids: np.ndarray, complete: bool  # noqa: ANN401 - "up" or "down"
    ) -> np.ndarray:
        """How often each message is sent ``[C]``; negative where the last one was lost as well."""
        plan = self.plan
        sent = np.ones(len(ids), dtype=np.int64)
        open_ = plan.faults.lost(direction, plan.seed, number, phase, 0, ids)
        if not complete:
            return np.where(open_, -sent, sent)
        for attempt in range(1, _RETRIES):
            if not open_.any():
                return sent
            sent[open_] += 1
            open_ = open_ & plan.faults.lost(direction, plan.seed, number, phase, attempt, ids)
        raise ProtocolError(
            f"{self._who}: phase '{phase}' needs every client, and client {ids[open_][0]} could not be reached in "
            f"{_RETRIES} attempts; lower faults.{direction}link_loss"
        )

    def _train(
        self, number: int, k: int, phase: str, audience: np.ndarray, at: np.ndarray, shared: dict[str, np.ndarray]
    ) -> list[tuple[TrainCall, TrainReply]]:
        """Runs the clients at the positions ``at`` of the audience, block by block in ascending id."""
        calls = []
        for first in range(0, len(at), self.plan.block):
            chosen = at[first : first + self.plan.block]
            calls.append(TrainCall(number, phase, self.now_ns / 1e9, audience[chosen], chosen, k))
        final: dict[int, TrainCall] = {}

        def prepare(call: TrainCall, attempt: int, near: bool) -> TrainCall:
            del attempt
            fresh = self._states.reserve(len(call.ids))
            held = self._helds.reserve(len(call.ids)) if self._helds.specs else None
            sent = replace(
                call,
                new=fresh,
                old=self._states.slots_of(call.ids) if near else None,
                rows=None if near else self._states.rows(call.ids),
                held_new=held,
                held_old=self._helds.slots_of(call.ids) if near and held is not None else None,
                held_rows=None if near or held is None else self._helds.rows(call.ids),
            )
            final[int(call.at[0])] = sent
            return sent

        def abandon(sent: Any, key: Hashable) -> None:  # noqa: ANN401 - the dispatcher does not know what it carries
            if isinstance(sent, TrainCall):
                self._states.quarantine(sent.new, key)
                if sent.held_new is not None:
                    self._helds.quarantine(sent.held_new, key)

        replies = self._dispatcher.run(shared, calls, prepare, abandon, self._reclaim)
        return [(final[int(call.at[0])], reply) for call, reply in zip(calls, replies, strict=True)]

    def _reclaim(self, key: Hashable) -> None:
        self._states.release_quarantine(key)
        self._helds.release_quarantine(key)

    # ---- what it costs

    def _charge_down(self, said: Said, ids: np.ndarray, attempts: np.ndarray, received: np.ndarray) -> None:
        if not said.message:
            self._down_bytes = np.zeros(len(ids), dtype=np.int64)
            return
        payload, header = self._downlink.charge(said, ids, received, self.held if self._shared_held else {})
        self.ledger.send(
            "down", ids, payload * attempts, header=header * attempts, dense=said.dense * attempts, lost=~received
        )
        self._down_bytes = ((payload + header) * attempts)[received]

    def _charge_up(
        self, replies: Sequence[tuple[TrainCall, TrainReply]], ids: np.ndarray, attempts: np.ndarray, arrived: np.ndarray
    ) -> None:
        payload, header, dense = (
            np.concatenate([getattr(reply, name) for _, reply in replies])
            for name in ("payload_bytes", "header_bytes", "dense_bytes")
        )
        self.ledger.send(
            "up", ids, payload * attempts, header=header * attempts, dense=dense * attempts, lost=~arrived
        )

    def _pass_time(
        self,
        number: int,
        said: Said,
        ids: np.ndarray,
        replies: Sequence[tuple[TrainCall, TrainReply]],
        attempts: np.ndarray,
        arrived: np.ndarray,
        complete: bool,
    ) -> np.ndarray:
        """Advances the virtual clock; whose message came in time, ``[C]`` bool."""
        del said
        plan = self.plan
        up = np.concatenate([reply.payload_bytes + reply.header_bytes for _, reply in replies]) * attempts
        examples = np.concatenate([reply.examples for _, reply in replies])
        links = plan.network.links(plan.seed, ids, number)
        times = finish_times(links, self._down_bytes, examples, up)
        times = np.where(arrived, times, NEVER)
        if complete:
            self.now_ns += int(times.max())
            return np.ones(len(ids), dtype=bool)
        closed = plan.deadline.close(times, ids, plan.cohort)
        self.now_ns += closed.round_ns
        return closed.accepted

    # ---- what comes of it

    def _accept(
        self,
        strategy: Strategy,
        ctx: Context,
        k: int,
        ids: np.ndarray,
        replies: Sequence[tuple[TrainCall, TrainReply]],
        wanted: np.ndarray,
        tally: _Tally,
    ) -> None:
        """The gates, the commit of what passed them, and the server's step."""
        plan = self.plan
        gates = Gates(self._who, plan.run, ctx.round, k, self._shapes.get(ctx.phase), plan.aggregator.max_norm)
        parts, accepted, first = [], np.zeros(len(ids), dtype=bool), 0
        for call, reply in replies:
            here = slice(first, first + len(call.ids))
            first = here.stop
            message, passed = gates.open(reply, call.ids)
            good = passed & wanted[here]
            accepted[here] = good
            self._commit(call, reply, good)
            if message and good.any():
                keep = torch.from_numpy(good[passed])
                parts.append({n: p if bool(keep.all()) else p.select(keep) for n, p in message.items()})
        if gates.shapes is not None:
            self._shapes[ctx.phase] = gates.shapes
        tally.rejected.update(gates.rejected)
        tally.refused.update(ids[wanted & ~accepted].tolist())
        tally.accepted.update(ids[accepted].tolist())
        self._count(replies, accepted, tally)
        if parts:
            self._step(strategy, ctx, ids[accepted], parts)
        else:
            tally.skipped = True

    def _commit(self, call: TrainCall, reply: TrainReply, good: np.ndarray) -> None:
        """A client's state counts once its message was accepted; what it holds, once it heard."""
        if call.new is None:
            return
        if reply.rows is not None:
            self._states.put(call.new, reply.rows)
        self._states.commit(call.ids[good], call.new[good])
        self._states.release(call.new[~good])
        if call.held_new is not None:
            if reply.held_rows is not None:
                self._helds.put(call.held_new, reply.held_rows)
            self._helds.commit(call.ids, call.held_new)

    @staticmethod
    def _count(replies: Sequence[tuple[TrainCall, TrainReply]], accepted: np.ndarray, tally: _Tally) -> None:
        tally.gradient_calls += sum(int(reply.gradient_calls.sum()) for _, reply in replies)
        tally.examples += sum(int(reply.examples.sum()) for _, reply in replies)
        losses = np.concatenate([reply.loss for _, reply in replies])[accepted]
        if len(losses) and not np.isnan(losses).all():
            tally.loss = math.fsum(losses) / len(losses)
        for name in replies[0][1].scalars:
            values = np.concatenate([reply.scalars[name] for _, reply in replies])[accepted]
            if len(values):
                tally.scalars[name.removeprefix("@")] = math.fsum(values) / len(values)

    def _step(
        self, strategy: Strategy, ctx: Context, senders: np.ndarray, parts: Sequence[Mapping[str, Payload]]
    ) -> None:
        ids = torch.from_numpy(senders)
        sizes = self.workload.sizes(ids)
        weights = torch.from_numpy(self.plan.sampler.coefficients(sizes.numpy()))
        if not float(weights.sum()) > 0:
            raise ProtocolError(f"{self._who}: the clients of round {ctx.round} have no examples, so they have no weight")
        inbox = Inbox(ids, sizes, weights / weights.sum(), parts, self.plan.aggregator, strategy.robust)
        if BUFFERS in parts[0]:
            self.buffers = self.buffers + Inbox(ids, sizes, weights / weights.sum(), parts, Mean()).mean(BUFFERS)
        new = dict(strategy.aggregate(self.state, inbox, ctx))
        check_same(self._who, "server state", new, self.state)
        self.state = new

    def model(self, number: int | None = None) -> Tensor:
        """The parameters to evaluate ``[d]``, as of the end of round ``number``."""
        ctx = self._context(number or 0, "evaluate", np.zeros(0, dtype=np.int64))
        return self.plan.strategy.model(self.state, ctx)

    def _evaluate(self, number: int) -> dict[str, float]:
        x = self.model(number)
        calls = [EvaluateCall(chunk) for chunk in range(self.workload.chunks)]
        shared = {"x": as_array(x), BUFFERS: as_array(self.buffers)}
        parts = self._dispatcher.run(shared, calls, lambda call, _, __: call, lambda *_: None, self._reclaim)
        return self.workload.metrics(parts)

    def _context(self, number: int, phase: str, ids: np.ndarray) -> Context:
        return Context(
            seed=self.plan.seed,
            round=number,
            rounds=self.plan.rounds,
            phase=phase,
            ids=torch.from_numpy(ids),
            population=self.workload.clients,
            total=self.workload.total,
            layout=self.workload.start.layout,
            now=self.now_ns / 1e9,
        )

    # ---- checkpoints

    def arrays(self) -> dict[str, Any]:
        """Everything that the next round depends on, by name; clients' rows in ascending id."""
        known, held_by = self._states.known(), self._helds.known()
        return {
            "now_ns": np.array([self.now_ns], dtype=np.int64),
            "buffers": as_array(self.buffers),
            **{f"server.{name}": as_array(value) for name, value in self.state.items()},
            **{f"held.{name}": as_array(value) for name, value in self.held.items()},
            **{f"downlink.{name}": value for name, value in self._downlink.state().items()},
            **{f"ledger.{name}": value for name, value in self.ledger.state().items()},
            "clients": known,
            **{f"client.{name}": rows for name, rows in self._states.stream(known).items()},
            "holders": held_by,
            **{f"holder.{name}": rows for name, rows in self._helds.stream(held_by).items()},
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on from what :meth:`arrays` gave."""
        self.now_ns = int(arrays["now_ns"][0])
        self.buffers = torch.from_numpy(arrays["buffers"].copy())
        self.state = {n: torch.from_numpy(v.copy()) for n, v in _under("server.", arrays).items()}
        self.held = {n: torch.from_numpy(v.copy()) for n, v in _under("held.", arrays).items()}
        self._downlink.restore(_under("downlink.", arrays))
        self.ledger.restore(_under("ledger.", arrays))
        self._states.write(arrays["clients"], _under("client.", arrays))
        self._helds.write(arrays["holders"], _under("holder.", arrays))


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
