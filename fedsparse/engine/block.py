"""A worker's part of a phase: rows in, the strategy's client half, rows and messages out. It keeps nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fedsparse.engine.calls import EvaluateCall, Rows, TrainCall, TrainReply, as_array, as_tensor
from fedsparse.engine.checks import check_rows
from fedsparse.engine.slab import SlabView, StateSpec
from fedsparse.errors import ProtocolError
from fedsparse.message import Dense, Payload, Scalars
from fedsparse.protocol import Context, Message, Start, State, Strategy
from fedsparse.wire import Envelope, encode_message, message_nbytes, to_arrays

__all__ = ["BUFFERS", "BlockJob", "BlockRunner", "ClientTask", "Workload", "dense_nbytes"]

BUFFERS = "buffers"
"""The reserved name of BatchNorm statistics in messages and states."""


class ClientTask(Protocol):
    """What the engine reads from a task after the strategy has used it."""

    buffers: Tensor
    gradient_calls: Tensor
    examples: Tensor


class Workload(Protocol):
    """What clients optimise, and how a model is judged."""

    clients: int
    total: int
    start: Start
    chunks: int

    def sizes(self, ids: Tensor) -> Tensor:
        """Examples of the clients ``ids``, ``[C]``."""

    def task(self, ids: Tensor, seed: int, round: int, buffers: Tensor) -> Any:  # noqa: A002, ANN401
        """The task of the clients ``ids`` in ``round``."""

    def evaluate(self, x: Tensor, buffers: Tensor, chunk: int) -> dict[str, float]:
        """Sums over one piece of the evaluation."""

    def metrics(self, parts: list[Mapping[str, Any]]) -> dict[str, float]:
        """The evaluation from its pieces."""


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
        states: folder, specs and first rows of the clients' states.
        helds: the same of what each client holds, where each holds its own.
        buffers: what happens to BatchNorm statistics.
    """

    strategy: Strategy
    workload: Callable[[Mapping[str, np.ndarray]], Workload]
    seed: int
    rounds: int
    run: int
    encode: bool
    states: tuple[Path, tuple[StateSpec, ...], Rows]
    helds: tuple[Path, tuple[StateSpec, ...], Rows]
    buffers: str

    def build(self, arrays: Mapping[str, np.ndarray], near: bool) -> BlockRunner:
        """The runner of one worker; ``near``: it shares the memory of the slots."""
        return BlockRunner(self, self.workload(arrays), near)


class BlockRunner:
    """Runs blocks of clients."""

    def __init__(self, job: BlockJob, workload: Workload, near: bool) -> None:
        self._job, self._workload, self._near = job, workload, near
        self._states = SlabView(*job.states) if near else None
        self._helds = SlabView(*job.helds) if near else None
        self._first = {name: as_tensor(row)[None] for name, row in job.states[2].items()}
        self._first_held = {name: as_tensor(row)[None] for name, row in job.helds[2].items()}
        self._name = type(job.strategy).__name__

    def __call__(self, shared: Mapping[str, np.ndarray], call: TrainCall | EvaluateCall) -> Any:  # noqa: ANN401
        """Runs a call; see :class:`TrainCall`, :class:`EvaluateCall`."""
        if isinstance(call, EvaluateCall):
            return self._workload.evaluate(as_tensor(shared["x"]), as_tensor(shared[BUFFERS]), call.chunk)
        with torch.no_grad():
            return self._train(shared, call)

    def _train(self, shared: Mapping[str, np.ndarray], call: TrainCall) -> TrainReply:
        job, ids = self._job, torch.from_numpy(call.ids)
        ctx = Context(
            seed=job.seed,
            round=call.round,
            rounds=job.rounds,
            phase=call.phase,
            ids=ids,
            population=self._workload.clients,
            total=self._workload.total,
            layout=self._workload.start.layout,
            now=call.now,
        )
        strategy = job.strategy.at(call.round, job.rounds)
        state = _rows(self._states, call.old, call.rows)
        said = {name: as_tensor(value) for name, value in shared.items()}
        heard = {k: v if len(v) == 1 else v[torch.from_numpy(call.at)] for k, v in said.items()}
        held_rows = self._hear(strategy, heard, call, ctx) if self._first_held else None
        if held_rows is not None:
            heard = dict(held_rows) | {k: v for k, v in heard.items() if k == BUFFERS}
        start = state.pop(BUFFERS, heard.pop(BUFFERS, self._workload.start.buffers[None]))
        task = self._workload.task(ids, job.seed, call.round, start)
        new, message = strategy.client_update(state, heard, task, ctx)
        new, message = self._statistics(dict(new), dict(message), start, task)
        check_rows(self._name, "client state", new, self._first, len(ids))
        return self._reply(call, message, new, held_rows, task)

    def _hear(self, strategy: Strategy, heard: State, call: TrainCall, ctx: Context) -> State:
        held = _rows(self._helds, call.held_old, call.held_rows)
        found = strategy.hear(held, {k: v for k, v in heard.items() if k != BUFFERS}, ctx)
        check_rows(self._name, "what a client holds,", found, self._first_held, len(call.ids))
        return found

    def _statistics(
        self, new: dict[str, Tensor], message: dict[str, Payload], start: Tensor, task: ClientTask
    ) -> tuple[dict[str, Tensor], dict[str, Payload]]:
        """Adds what becomes of BatchNorm statistics, which the strategy does not see."""
        if BUFFERS in new or BUFFERS in message:
            raise ProtocolError(f"{self._name}: the name '{BUFFERS}' is the machine's; choose another one")
        if start.shape[-1]:
            if self._job.buffers == "local":
                new[BUFFERS] = task.buffers
            elif self._job.buffers == "average":
                message[BUFFERS] = Dense(task.buffers - start)
        return new, message

    def _reply(
        self, call: TrainCall, message: dict[str, Payload], new: State, held: State | None, task: ClientTask
    ) -> TrainReply:
        scalars = {name: message.pop(name) for name in list(message) if name.startswith("@")}
        for name, payload in message.items():
            if payload.rows != len(call.ids):
                raise ProtocolError(
                    f"{self._name}: message '{name}' has {payload.rows} rows; it must have {len(call.ids)}, one a client"
                )
        rows = _store(self._states, call.new, new)
        held_rows = None if held is None else _store(self._helds, call.held_new, held)
        payload_bytes, header_bytes = message_nbytes(message)
        loss = getattr(task, "last_loss", None)
        encoded = None
        if self._job.encode:
            envelopes = [Envelope(self._job.run, call.round, call.number, i) for i in call.ids.tolist()]
            encoded = [encode_message(message, row, envelope) for row, envelope in enumerate(envelopes)]
        return TrainReply(
            packed={} if self._job.encode else {name: to_arrays(p) for name, p in message.items()},
            encoded=encoded,
            payload_bytes=as_array(payload_bytes),
            header_bytes=as_array(header_bytes),
            dense_bytes=np.full(len(call.ids), dense_nbytes(message), dtype=np.int64),
            loss=np.full(len(call.ids), np.nan) if loss is None else as_array(loss.to(torch.float64)),
            gradient_calls=as_array(task.gradient_calls),
            examples=as_array(task.examples),
            scalars={n: as_array(p.values[:, 0]) for n, p in scalars.items() if isinstance(p, Scalars)},
            rows=rows,
            held_rows=held_rows,
        )


def dense_nbytes(message: Message) -> int:
    """Bytes of one row of the same values without compression: every payload as dense numbers of its dtype."""
    return sum(p.size * p.dtype.itemsize for p in message.values())


def _rows(view: SlabView | None, slots: np.ndarray | None, rows: Rows | None) -> dict[str, Tensor]:
    if rows is None:
        if view is None or slots is None:
            return {}
        rows = view.gather(slots)
    return {name: as_tensor(value) for name, value in rows.items()}


def _store(view: SlabView | None, slots: np.ndarray | None, state: State) -> Rows | None:
    rows = {name: as_array(value) for name, value in state.items()}
    if view is None or slots is None:
        return rows
    view.scatter(slots, rows)
    return None
