"""A worker's part of a phase: rows in, the strategy's client half, rows and messages out. It keeps nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fedsparse.cohort.calibration import Calibration
from fedsparse.engine.calls import (
    CalibrateCall,
    Call,
    EvaluateCall,
    JudgeCall,
    MixCall,
    MixReply,
    Rows,
    Slots,
    SurveyCall,
    TrainCall,
    TrainReply,
    as_array,
    as_tensor,
)
from fedsparse.engine.checks import check_message, check_rows, finite_rows, numbers, shape_of
from fedsparse.engine.eligible import Eligible
from fedsparse.engine.gossip.inbox import NeighbourInbox
from fedsparse.engine.slab import Door, SlabView, StateSpec
from fedsparse.errors import ProtocolError, ResourceError
from fedsparse.gossip import Gossip
from fedsparse.message import Dense, Payload
from fedsparse.protocol import Context, Message, Predict, Start, State, Strategy
from fedsparse.wire import Envelope, encode_messages, message_nbytes, pack

__all__ = ["BUFFERS", "MEAN", "BlockJob", "BlockRunner", "ClientTask", "Workload", "dense_nbytes"]

BUFFERS = "buffers"
"""The reserved name of BatchNorm statistics in messages and states."""

MEAN = "mean."
"""What the names of means begin with, where all have heard all."""


class ClientTask(Protocol):
    """What the engine reads from a task after the strategy has used it."""

    buffers: Tensor
    """Statistics that training ended with, ``[C, b]``."""
    gradient_calls: Tensor
    """Minibatch gradients computed, ``[C]``."""
    examples: Tensor
    """Examples that went into them, ``[C]``."""
    train_loss: Tensor
    """Mean loss of the last training, ``[C]``; NaN where there was none."""


class Workload(Protocol):
    """What clients optimise, and how a model is judged."""

    clients: int
    """Registered clients."""
    start: Start
    """What everything starts from."""

    @property
    def has_optimum(self) -> bool:
        """Whether tasks know the minimiser of the mean of all clients' losses."""

    @property
    def total(self) -> int:
        """Examples of all clients together."""

    @property
    def chunks(self) -> int:
        """Pieces of one evaluation."""

    @property
    def personal(self) -> bool:
        """Whether clients have test examples of their own."""

    @property
    def client_bytes(self) -> int:
        """Memory that a client takes while it trains, about."""

    @property
    def notes(self) -> list[str]:
        """What people should know about how clients are trained, a line each."""

    def sizes(self, ids: Tensor) -> Tensor:
        """Examples of the clients ``ids``, ``[C]``."""

    def task(self, ids: Tensor, seed: int, round: int, buffers: Tensor) -> Any:  # noqa: A002
        """The task of the clients ``ids`` in ``round``."""

    def evaluate(self, x: Tensor, buffers: Tensor, chunk: int, predict: Predict) -> dict[str, float]:
        """Sums over one piece of the evaluation."""

    def metrics(self, parts: list[Mapping[str, Any]]) -> dict[str, float]:
        """The evaluation from its pieces."""

    def minibatches(self, asked: Calibration) -> int:
        """Minibatches of a calibration; 0 where the model has no BatchNorm statistics."""

    def calibrated(
        self, x: Tensor, buffers: Tensor, asked: Calibration, minibatch: int, predict: Predict
    ) -> Tensor:
        """BatchNorm statistics ``[b]`` of one of its minibatches alone, in the evaluated model."""


@dataclass(frozen=True)
class BlockJob:
    """The recipe of a runner; sent to each worker once.

    Attributes:
        strategy: the strategy.
        workload: makes the workload from the shared arrays of the data set.
        seed: of the run.
        rounds: of the run.
        run: 64-bit number of the run, for envelopes.
        encode: really encode every message.
        states: door, specs and first rows of the clients' states.
        helds: the same of what each client holds, where each holds its own.
        buffers: what happens to BatchNorm statistics.
        eligible: who can take part.
    """

    strategy: Strategy
    workload: Callable[[Mapping[str, np.ndarray]], Workload]
    seed: int
    rounds: int
    run: int
    encode: bool
    states: tuple[Door, tuple[StateSpec, ...], Rows]
    helds: tuple[Door, tuple[StateSpec, ...], Rows]
    buffers: str
    eligible: Eligible

    def build(self, arrays: Mapping[str, np.ndarray], near: bool) -> BlockRunner:
        """The runner of one worker; ``near``: it shares the memory of the slots."""
        return BlockRunner(self, self.workload(arrays), near)


class _Store:
    """One kind of rows: those of the slots, where the worker shares their memory, or those that came with the call."""

    def __init__(self, door: Door, specs: tuple[StateSpec, ...], first: Rows, near: bool) -> None:
        self.first = {name: as_tensor(row)[None] for name, row in first.items()}
        self._view = SlabView(door, specs, first) if near else None

    def read(self, slots: Slots) -> dict[str, Tensor]:
        """The clients' rows, which may be those that are kept: nobody writes to them."""
        rows = slots.rows if self._view is None else self._view.lend(slots.old)
        return {name: as_tensor(value) for name, value in rows.items()}

    def write(self, slots: Slots, state: State) -> Rows | None:
        """Writes to the slots, or gives back what the driver has to write."""
        if self._view is None:
            return {name: as_array(value) for name, value in state.items()}
        self._view.keep(
            slots.new, {name: as_array(_alone(value)) for name, value in state.items()}, slots.old
        )
        return None


class BlockRunner:
    """Runs blocks of clients."""

    def __init__(self, job: BlockJob, workload: Workload, near: bool) -> None:
        self._job, self._workload = job, workload
        self._states, self._helds = _Store(*job.states, near), _Store(*job.helds, near)
        self._who = type(job.strategy).__name__

    def __call__(self, shared: Mapping[str, np.ndarray], call: Call) -> Any:
        """Runs a call.

        Raises:
            ResourceError: there is not enough memory for it.
        """
        try:
            return self._run(shared, call)
        except torch.OutOfMemoryError as error:  # of an accelerator
            raise ResourceError(
                f"no memory for a block of clients on the accelerator: {_said(error)}. Take a smaller engine.block, or "
                "end what else uses the device."
            ) from error
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "allocate memory" not in str(error):  # PyTorch's own
                raise
            raise ResourceError(
                f"no memory for a block of clients: {_said(error)}. Set engine.state_dir to a folder on a larger disk, "
                "take a smaller engine.block, or fewer engine.workers."
            ) from error

    def _run(self, shared: Mapping[str, np.ndarray], call: Call) -> Any:
        if isinstance(call, EvaluateCall | CalibrateCall):
            model, predict = (as_tensor(shared["x"]), as_tensor(shared[BUFFERS])), self._job.strategy.predict
            if isinstance(call, EvaluateCall):
                return self._workload.evaluate(*model, call.chunk, predict)
            return as_array(self._workload.calibrated(*model, call.asked, call.minibatch, predict))
        with torch.no_grad():
            if isinstance(call, TrainCall):
                return self._train(shared, call)
            if isinstance(call, MixCall):
                return self._mix(shared, call)
            return self._judge(shared, call) if isinstance(call, JudgeCall) else self._survey(call)

    def _context(self, round: int, phase: str, ids: Tensor, now: float = 0.0) -> Context:  # noqa: A002
        eligible = self._job.eligible
        return Context(
            seed=self._job.seed,
            round=round,
            rounds=self._job.rounds,
            phase=phase,
            ids=ids,
            population=eligible.population,
            total=eligible.total,
            layout=self._workload.start.layout,
            now=now,
            idle=eligible.idle,
        )

    def _judge(self, shared: Mapping[str, np.ndarray], call: JudgeCall) -> dict[str, np.ndarray]:
        job, ids = self._job, torch.from_numpy(call.ids)
        state = self._states.read(call.states)
        statistics = state.pop(BUFFERS, as_tensor(shared[BUFFERS])[None])
        task = self._workload.task(ids, job.seed, call.round, statistics)
        strategy, x = job.strategy.at(call.round, job.rounds), as_tensor(shared["x"])[None]
        ctx, new = self._context(call.round, "judge", ids), torch.from_numpy(call.new)
        return {name: as_array(value) for name, value in strategy.judge(state, x, task, new, ctx).items()}

    def _train(self, shared: Mapping[str, np.ndarray], call: TrainCall) -> TrainReply:
        job, ids = self._job, torch.from_numpy(call.ids)
        ctx = self._context(call.round, call.phase, ids, call.now)
        strategy = job.strategy.at(call.round, job.rounds)
        state = self._states.read(call.states)
        heard = _own_rows(shared, call.at)
        statistics = heard.pop(BUFFERS, self._workload.start.buffers[None])
        statistics = state.pop(BUFFERS, statistics)
        held_rows = None
        if self._helds.first:
            heard = self._hear(strategy, heard, call, ctx)
            held_rows = self._helds.write(call.helds, heard)
        task = self._workload.task(ids, job.seed, call.round, statistics)
        given = _versions(state)
        new, message = _pair(self._who, strategy.client_update(state, heard, task, ctx))
        _check_unwritten(f"{self._who}: client_update", given)
        new, message = self._statistics(new, message, statistics, task)
        check_rows(self._who, "client state", new, self._states.first, len(ids))
        return self._reply(call, message, self._states.write(call.states, new), held_rows, task)

    def _mix(self, shared: Mapping[str, np.ndarray], call: MixCall) -> MixReply:
        """The states of gossiping clients after they have heard their neighbours."""
        strategy = self._job.strategy.at(call.round, self._job.rounds)
        assert isinstance(strategy, Gossip)  # noqa: S101 - the session has seen to it
        state = self._states.read(call.states)
        letters = call.letters.open(shared)
        late = {name: parts[0] for name, parts in call.late.open(shared).items()}
        means = {n.removeprefix(MEAN): as_tensor(v) for n, v in shared.items() if n.startswith(MEAN)}
        inbox = NeighbourInbox(call.mail, letters, late, means, strategy.delivery)
        statistics = state.pop(BUFFERS, None)
        ctx = self._context(call.round, call.phase, torch.from_numpy(call.ids), call.now)
        given = _versions(state)
        new = dict(strategy.aggregate(state, inbox, ctx))
        _check_unwritten(f"{self._who}: aggregate", given)
        if statistics is not None:
            new[BUFFERS] = inbox.mix(BUFFERS) if BUFFERS in letters else statistics
        check_rows(self._who, "client state", new, self._states.first, len(call.ids))
        return MixReply(self._states.write(call.states, new))

    def _survey(self, call: SurveyCall) -> list[dict[str, float]]:
        """Metrics of each client's own model."""
        strategy, state = self._job.strategy.at(call.round, self._job.rounds), self._states.read(call.states)
        ctx, workload = (
            self._context(call.round, "evaluate", torch.from_numpy(call.ids), call.now),
            self._workload,
        )
        statistics = state.pop(BUFFERS, workload.start.buffers.expand(len(call.ids), -1))
        found = []
        for k in range(len(call.ids)):
            x = strategy.model({name: value[k] for name, value in state.items()}, ctx)
            chunks = range(workload.chunks)
            parts = [workload.evaluate(x, statistics[k], chunk, strategy.predict) for chunk in chunks]
            found.append(workload.metrics([*parts]))
        return found

    def _hear(self, strategy: Strategy, said: State, call: TrainCall, ctx: Context) -> dict[str, Tensor]:
        before = self._helds.read(call.helds)
        given = _versions(before)
        held = dict(strategy.hear(before, said, ctx))
        _check_unwritten(f"{self._who}: hear", given)
        check_rows(self._who, "what a client holds,", held, self._helds.first, len(call.ids))
        return held

    def _statistics(
        self, new: dict[str, Tensor], message: dict[str, Payload], start: Tensor, task: ClientTask
    ) -> tuple[dict[str, Tensor], dict[str, Payload]]:
        """Adds what becomes of BatchNorm statistics, which the strategy does not see."""
        if BUFFERS in new or BUFFERS in message:
            raise ProtocolError(f"{self._who}: the name '{BUFFERS}' is the machine's; choose another one")
        if start.shape[-1]:
            gossips, average = isinstance(self._job.strategy, Gossip), self._job.buffers == "average"
            if self._job.buffers == "local" or (gossips and average):
                new[BUFFERS] = task.buffers
            if average and (not gossips or any(not name.startswith("@") for name in message)):
                message[BUFFERS] = Dense(task.buffers if gossips else task.buffers - start)
        return new, message

    def _reply(
        self,
        call: TrainCall,
        message: dict[str, Payload],
        rows: Rows | None,
        held_rows: Rows | None,
        task: ClientTask,
    ) -> TrainReply:
        job, count = self._job, len(call.ids)
        scalars = numbers(self._who, message, count)
        message = {name: payload for name, payload in message.items() if name not in scalars}
        silent = not message and isinstance(job.strategy, Gossip)
        if silent:
            payload_bytes = header_bytes = torch.zeros(count, dtype=torch.int64)
        else:
            check_message(self._who, message, count)
            payload_bytes, header_bytes = message_nbytes(message)
        return TrainReply(
            shapes=shape_of(message),
            packed={} if job.encode else pack(message),
            encoded=self._encode(call, message) if job.encode and not silent else None,
            finite=None if job.encode or silent else as_array(finite_rows(message)),
            payload_bytes=as_array(payload_bytes),
            header_bytes=as_array(header_bytes),
            dense_bytes=np.full(count, dense_nbytes(message), dtype=np.int64),
            loss=as_array(task.train_loss.to(torch.float64)),
            gradient_calls=as_array(task.gradient_calls),
            examples=as_array(task.examples),
            scalars={name: as_array(value) for name, value in scalars.items()},
            rows=rows,
            held_rows=held_rows,
        )

    def _encode(self, call: TrainCall, message: Message) -> list[bytes]:
        envelopes = [Envelope(self._job.run, call.round, call.number, i) for i in call.ids.tolist()]
        return encode_messages(message, envelopes)


def dense_nbytes(message: Message) -> int:
    """Bytes of one row of the same values without compression: every payload as dense numbers of its dtype."""
    return sum(p.size * p.dtype.itemsize for p in message.values())


def _own_rows(shared: Mapping[str, np.ndarray], at: np.ndarray) -> dict[str, Tensor]:
    """What these clients heard: ``[1, ...]`` where it is the same for all, else their own rows ``[C, ...]``."""
    return {name: as_tensor(value if len(value) == 1 else value[at]) for name, value in shared.items()}


def _alone(value: Tensor) -> Tensor:
    """The value with memory of its own: a view would keep all of what it is a view of."""
    return value if value.untyped_storage().nbytes() == value.nbytes else value.clone()


def _versions(state: State) -> list[tuple[str, Tensor, int]]:
    """Names, values, and how often each has been written to, which PyTorch counts."""
    return [(name, value, value._version) for name, value in state.items()]


def _check_unwritten(where: str, given: list[tuple[str, Tensor, int]]) -> None:
    """A client's state counts until the message is accepted, and may lie in no other place than where it was given.

    Raises:
        ProtocolError: the strategy wrote to it.
    """
    for name, value, version in given:
        if value._version != version:
            raise ProtocolError(
                f"{where} writes to its argument, the state '{name}'; make a new tensor instead"
            )


def _pair(who: str, found: Any) -> tuple[dict[str, Tensor], dict[str, Payload]]:
    if not (
        isinstance(found, tuple) and len(found) == 2 and all(isinstance(part, Mapping) for part in found)
    ):
        raise ProtocolError(
            f"{who}: client_update gave {type(found).__name__}; it must give two mappings, (new state, message)"
        )
    return dict(found[0]), dict(found[1])


def _said(error: Exception) -> str:
    """The first line of a message."""
    return (str(error).splitlines() or [type(error).__name__])[0]
