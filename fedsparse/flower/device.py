"""One device: a client of a run, which does one exchange after the other and may be switched off at any time."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedsparse.engine.block import BUFFERS, BlockJob, BlockRunner, Workload
from fedsparse.engine.calls import JudgeCall, Rows, Slots, TrainCall, TrainReply, as_array
from fedsparse.engine.checks import finite_rows
from fedsparse.engine.eligible import Eligible
from fedsparse.engine.plan import Plan
from fedsparse.engine.session import first_rows, specs_of
from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.flower.hearing import Memory, latest, listen, restored
from fedsparse.flower.judging import SHOWN, asked, scalars_of
from fedsparse.flower.letters import NEVER, Answer, Order, Stamp, Telling
from fedsparse.flower.listening import Listener, Mixed
from fedsparse.flower.versions import Versions
from fedsparse.gossip import Gossip
from fedsparse.message import Dense, Payload
from fedsparse.protocol import Context, State, Strategy
from fedsparse.rng import NOBODY
from fedsparse.wire import SERVER, Envelope, Limits, check_envelope, decode_message, encode_message

__all__ = ["Device"]

_LONGEST = 1 << 33
"""Bytes of a broadcast, and coordinates of a vector, that a device takes in at most."""


class Device:
    """A client of one run.

    Args:
        client: its id.
        run: number of the run.
        plan: what is run.
        workload: what it optimises; only its own examples are asked for.
        eligible: who can take part.
        folder: where it keeps its state.
    """

    def __init__(
        self, client: int, run: int, plan: Plan, workload: Workload, eligible: Eligible, folder: Path
    ) -> None:
        self._client, self._run, self._plan, self._workload = client, run, plan, workload
        self._eligible = eligible
        states, helds = first_rows(plan, workload, eligible, client)
        job = BlockJob(
            strategy=plan.strategy,
            workload=lambda _: workload,
            seed=plan.seed,
            rounds=plan.rounds,
            run=run,
            encode=True,
            states=((), specs_of(states), states),
            helds=((), specs_of(helds), helds),
            buffers=plan.strategy.buffers,
            eligible=eligible,
        )
        self._runner = BlockRunner(job, workload, near=False)
        self._first = {name: value[None] for name, value in states.items()}
        self._own = bool(helds)
        self._common = plan.strategy.hears() and plan.strategy.held == "shared"
        self._states, self._heard = Versions(folder, "state"), Versions(folder, "heard")
        self._gossips = isinstance(plan.strategy, Gossip)
        self._said = Versions(folder, "said")  # its own messages, which the server does not send back
        self._listener = Listener(client, run, self._runner, plan.aggregator.max_norm)

    def obey(self, order: Order) -> Answer:
        """Does the work of one exchange, and remembers it in case that it will be accepted.

        Raises:
            DecodeError: the order is for another client or run, or what it says is damaged.
            CheckpointError: this device has not the state that the order builds on.
            FedSparseError: as the strategy's part of the work has it.
        """
        self._check(order)
        # The server may have gone back to a checkpoint: what came after it never was.
        self._forget_from(order.stamp)
        (rows, refused), memory = self._mixed(order), self._remembered(order)
        for telling in order.told:
            memory = listen(memory, telling, self._opened(telling), self._hear if self._common else None)
        reply = self._work(order, rows, memory)
        if reply.held_rows is not None:
            memory = replace(memory, held={n: torch.from_numpy(v) for n, v in reply.held_rows.items()})
        self._remember(order, memory, reply)
        message = (reply.encoded or [b""])[0]
        return Answer(
            client=self._client,
            message=message,
            loss=float(reply.loss[0]),
            gradient_calls=int(reply.gradient_calls[0]),
            examples=int(reply.examples[0]),
            dense_bytes=int(reply.dense_bytes[0]),
            finite=not message or not self._gossips or _finite(message),
            scalars={name: float(values[0]) for name, values in reply.scalars.items()},
            refused=refused,
        )

    def evaluate(self, order: Order) -> Answer:
        """Its own test, or in gossip its model; arguments and errors as of :meth:`obey`."""
        return self._show(order) if self._gossips else self._judge(order)

    def _judge(self, order: Order) -> Answer:
        """How good its model is on test examples of its own; nothing stays of it."""
        self._check(order)
        if len(order.told) != 1:
            raise DecodeError(f"told: {len(order.told)} models; a device is tested with one")
        shared = asked(order.told[0], self._run, Limits(max_size=_LONGEST, max_bytes=_LONGEST))
        here, new = np.array([self._client], dtype=np.int64), np.array([order.accepted == NEVER])
        call = JudgeCall(order.stamp.round, here, new, Slots(rows=self._rows(order.accepted)))
        measured: Rows = self._runner(shared, call)
        return Answer(self._client, b"", math.nan, 0, 0, scalars=scalars_of(measured))

    def _show(self, order: Order) -> Answer:
        """Its model, after it has mixed what it had not heard yet.

        Raises:
            DecodeError: the order is for another client or run, or what it says is damaged.
            CheckpointError: this device has not the state that the order builds on.
        """
        self._check(order)
        if order.mail is not None:
            self._forget_from(order.stamp)
        rows, refused = self._mixed(order)
        if order.mail is not None:
            self._states.write(order.stamp, rows)
            self._keep(order)
        state = {name: torch.from_numpy(value[0]) for name, value in rows.items()}
        ctx = self._context(order.stamp, "evaluate", order.now, torch.zeros(0, dtype=torch.int64))
        model = {"x": Dense(self._strategy(order.stamp).model(state, ctx)[None])}
        if BUFFERS in state:
            model[BUFFERS] = Dense(state[BUFFERS][None])
        envelope = Envelope(self._run, order.stamp.round, SHOWN, self._client)
        return Answer(self._client, encode_message(model, 0, envelope), math.nan, 0, 0, refused=refused)

    def state(self, accepted: Stamp) -> dict[str, np.ndarray]:
        """This client's state once its answer of that exchange was accepted: a row by name."""
        return {name: value[0] for name, value in self._rows(accepted).items()}

    def _check(self, order: Order) -> None:
        if (order.run, order.client) != (self._run, self._client):
            raise DecodeError(
                f"order: for client {order.client} of run {order.run}; this is {self._client} of {self._run}"
            )
        if order.accepted > order.stamp or (order.accepted == order.stamp and order.mail is not None):
            raise DecodeError(f"accepted: {order.accepted}, which is not before {order.stamp}")

    # ---- what it has

    def _mixed(self, order: Order) -> Mixed:
        """Its state, after it has mixed what it had not heard yet."""
        rows = self._rows(order.accepted)
        if order.mail is None:
            return Mixed(rows, {})
        own = self._said.read(order.accepted)["message"].tobytes()
        return self._listener.mix(order.mail, own, rows)

    def _forget_from(self, stamp: Stamp) -> None:
        for versions in (self._states, self._heard, self._said):
            versions.forget_from(stamp)

    def _keep(self, order: Order) -> None:
        """The states and messages to which it may have to go back, and the newest."""
        for versions in (self._states, self._said):
            versions.keep({order.accepted, order.saved, order.stamp})

    def _rows(self, accepted: Stamp) -> dict[str, np.ndarray]:
        if accepted == NEVER or not self._first:
            return {name: value.copy() for name, value in self._first.items()}
        return self._states.read(accepted)

    def _remembered(self, order: Order) -> Memory:
        for stamp in reversed(self._heard.stamps()):
            memory = restored(self._heard.read(stamp))
            if stamp <= order.safe or memory.life == order.life:
                return replace(memory, life=order.life)
        if not self._plan.strategy.hears():
            return Memory(life=order.life)
        start, ctx = (
            self._workload.start,
            self._context(Stamp(0, 0), "init", 0.0, torch.zeros(0, dtype=torch.int64)),
        )
        return Memory(held=dict(self._plan.strategy.init("held", start, ctx)), life=order.life)

    def _remember(self, order: Order, memory: Memory, reply: TrainReply) -> None:
        stamp, goes_on = order.stamp, self._goes_on(order)
        if reply.rows:
            self._states.write(stamp, reply.rows)
        if self._gossips and reply.encoded:
            self._said.write(stamp, {"message": np.frombuffer(reply.encoded[0], dtype=np.uint8)})
        self._keep(order)
        if memory.replicas or memory.held or goes_on:
            self._heard.write(stamp, memory.arrays(goes_on))
        safe = latest(self._heard.stamps(), order.safe)
        self._heard.keep({stamp} if safe is None else {stamp, safe})

    def _goes_on(self, order: Order) -> bool:
        """Whether the round has more exchanges, in which what was said in this one still counts."""
        ctx = self._context(order.stamp, "", order.now, torch.tensor([self._client]))
        return len(self._strategy(order.stamp).phases(ctx)) > order.stamp.number + 1

    # ---- what it is told

    def _opened(self, telling: Telling) -> dict[str, Payload]:
        limits = Limits(max_size=_LONGEST, max_bytes=_LONGEST)
        envelope, message = decode_message(telling.message, limits)
        check_envelope(envelope, self._run, telling.stamp.round, telling.stamp.number, (SERVER,))
        return message

    def _hear(self, held: State, said: State, telling: Telling) -> State:
        ctx = self._context(telling.stamp, telling.phase, telling.now, torch.tensor([NOBODY]))
        return self._strategy(telling.stamp).hear(held, said, ctx)

    def _shared(self, order: Order, memory: Memory) -> dict[str, np.ndarray]:
        """What the client's half gets to read."""
        if self._common:
            statistics = {n: v for n, v in memory.words.items() if n == BUFFERS}
            statistics |= {n: v for n, v in memory.replicas.items() if n == BUFFERS}
            found: dict[str, Tensor] = {**memory.held, **statistics}
        else:
            known = {**memory.replicas, **memory.words}
            missing = [name for name in order.audible if name not in known]
            if missing:
                raise ProtocolError(
                    f"client {self._client} was never told '{missing[0]}' in round {order.stamp.round}"
                )
            found = {name: known[name] for name in order.audible}
        return {name: as_array(value) for name, value in found.items()}

    # ---- what it does

    def _work(self, order: Order, rows: Rows, memory: Memory) -> TrainReply:
        held = {name: as_array(value) for name, value in memory.held.items()} if self._own else {}
        call = TrainCall(
            round=order.stamp.round,
            phase=order.phase,
            number=order.stamp.number,
            now=order.now,
            ids=np.array([self._client], dtype=np.int64),
            at=np.zeros(1, dtype=np.int64),
            states=Slots(rows=rows),
            helds=Slots(rows=held),
        )
        reply: TrainReply = self._runner(self._shared(order, memory), call)
        return reply

    def _strategy(self, stamp: Stamp) -> Strategy:
        return self._plan.strategy.at(stamp.round, self._plan.rounds)

    def _context(self, stamp: Stamp, phase: str, now: float, ids: Tensor) -> Context:
        eligible = self._eligible
        return Context(
            seed=self._plan.seed,
            round=stamp.round,
            rounds=self._plan.rounds,
            phase=phase,
            ids=ids,
            population=eligible.population,
            total=eligible.total,
            layout=self._workload.start.layout,
            now=now,
            idle=eligible.idle,
        )


def _finite(message: bytes) -> bool:
    payloads = decode_message(message, Limits(_LONGEST, len(message)))[1]
    return bool(finite_rows(payloads)[0])
