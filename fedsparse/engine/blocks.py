"""The driver's side of blocks: cutting an audience into them, and the slots that their rows are written to."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from torch import Tensor

from fedsparse.cohort.calibration import Calibration, mean_of
from fedsparse.engine.block import BUFFERS, Workload
from fedsparse.engine.calls import (
    CalibrateCall,
    EvaluateCall,
    JudgeCall,
    MixCall,
    MixReply,
    Slots,
    SurveyCall,
    TrainCall,
    TrainReply,
    as_array,
    as_tensor,
)
from fedsparse.engine.dispatch import Dispatcher
from fedsparse.engine.exchange import Exchange
from fedsparse.engine.slab import Ids
from fedsparse.engine.slots import SlotStore

__all__ = ["Answer", "Blocks", "Mixed", "ServerWork", "Work", "personal_metrics", "spread_of"]

_Writing = TypeVar("_Writing", TrainCall, MixCall)
_Plain = TypeVar("_Plain", EvaluateCall, CalibrateCall)


class Answer(NamedTuple):
    """One block's call, as it was finally sent, and its reply."""

    call: TrainCall
    reply: TrainReply


class Mixed(NamedTuple):
    """One block's call, as it was finally sent, and its reply."""

    call: MixCall
    reply: MixReply


class Work(Protocol):
    """What a run asks of its clients, wherever they are."""

    def train(self, exchange: Exchange, at: Ids, shared: Mapping[str, np.ndarray]) -> list[Answer]:
        """One phase; see :meth:`Blocks.train`. Whoever does not answer is left out."""

    def commit(self, answer: Answer, accepted: np.ndarray) -> None:
        """A client's state counts once its message was accepted, ``[C]`` bool."""

    def close_round(self) -> None:
        """The round is complete."""

    def evaluate(self, workload: Workload, x: Tensor, buffers: Tensor) -> dict[str, float]:
        """Metrics of the model ``x [d]`` with statistics ``buffers [b]``."""

    def calibrated(self, asked: Calibration, workload: Workload, x: Tensor, buffers: Tensor) -> Tensor:
        """BatchNorm statistics ``[b]`` of the model ``x [d]`` by itself, instead of ``buffers [b]``."""

    def share(self, work: Sequence[Callable[[], None]]) -> None:
        """Do parts of the server's own work, side by side where that can be."""


class ServerWork(Work, Protocol):
    """What a server asks besides, whose clients may be tested by themselves."""

    def judge(self, number: int, clients: int, x: Tensor, buffers: Tensor) -> dict[str, float]:
        """Metrics of the clients one by one, where a workload is ``personal``; see :meth:`Blocks.judge`."""


class Blocks:
    """Runs the work of a run on its workers.

    Args:
        dispatcher: gives calls to workers.
        states: slots of the clients' states.
        helds: slots of what each client holds, where each holds its own.
        size: clients of a block.
    """

    def __init__(self, dispatcher: Dispatcher, states: SlotStore, helds: SlotStore, size: int) -> None:
        self._dispatcher, self._states, self._helds, self._size = dispatcher, states, helds, size

    def cut(self, clients: Ids) -> list[Ids]:
        """Blocks of nearly equal lengths, in order."""
        return np.array_split(clients, -(-len(clients) // self._size)) if len(clients) else []

    def train(self, exchange: Exchange, at: Ids, shared: Mapping[str, np.ndarray]) -> list[Answer]:
        """Runs the clients at the positions ``at`` of the audience, block by block in ascending id.

        Args:
            exchange: the phase.
            at: positions in its ids, ascending.
            shared: what they have heard, by name.
        """
        ctx, ids = exchange.ctx, exchange.ids
        calls = [TrainCall(ctx.round, ctx.phase, exchange.number, ctx.now, ids[p], p) for p in self.cut(at)]
        return [Answer(*pair) for pair in self._written(shared, calls)]

    def mix(self, shared: Mapping[str, np.ndarray], calls: Sequence[MixCall]) -> list[Mixed]:
        """Blocks make their new states of what they have heard."""
        return [Mixed(*pair) for pair in self._written(shared, calls)]

    def survey(self, number: int, now: float, clients: Ids) -> list[dict[str, float]]:
        """Metrics of the clients' own models, in their order."""
        calls = [SurveyCall(number, now, ids) for ids in self.cut(clients)]

        def prepare(call: SurveyCall, attempt: int, near: bool) -> SurveyCall:
            del attempt
            if near:
                return replace(call, states=Slots(old=self._states.slots_of(call.ids)))
            return replace(call, states=Slots(rows=self._states.rows(call.ids)))

        parts = self._dispatcher.run({}, calls, prepare, self._abandon, self._reclaim)
        return [found for part in parts for found in part]

    def _written(self, shared: Mapping[str, np.ndarray], calls: Sequence[_Writing]) -> list[tuple[Any, Any]]:
        """Calls that write rows, each with the slots that it was finally given, and their replies."""
        if not calls:
            return []
        final: dict[int, Any] = {}

        def prepare(call: _Writing, attempt: int, near: bool) -> _Writing:
            del attempt
            sent = replace(call, states=_slots(self._states, call.ids, near))
            if self._helds.specs:
                sent = replace(sent, helds=_slots(self._helds, call.ids, near))
            final[int(call.ids[0])] = sent  # that of the last attempt remains
            return sent

        replies = self._dispatcher.run(shared, calls, prepare, self._abandon, self._reclaim)
        return [(final[int(call.ids[0])], reply) for call, reply in zip(calls, replies, strict=True)]

    def commit(self, answer: Answer | Mixed, accepted: np.ndarray) -> None:
        """A client's state counts once its message was accepted, ``[C]`` bool; what it holds, once it heard."""
        call, reply = answer
        if reply.rows is not None:
            self._states.put(call.states.new, reply.rows)
        self._states.commit(call.ids[accepted], call.states.new[accepted])
        self._states.release(call.states.new[~accepted])
        if len(call.helds.new):
            if reply.held_rows is not None:
                self._helds.put(call.helds.new, reply.held_rows)
            self._helds.commit(call.ids, call.helds.new)

    def close_round(self) -> None:
        """Frees the rows that this round replaced."""
        self._states.close_round()
        self._helds.close_round()

    def evaluate(self, workload: Workload, x: Tensor, buffers: Tensor) -> dict[str, float]:
        """Metrics of the model ``x [d]`` with statistics ``buffers [b]``, piece by piece on the workers."""
        calls = [EvaluateCall(chunk) for chunk in range(workload.chunks)]
        shared = {"x": as_array(x), BUFFERS: as_array(buffers)}
        parts = self._dispatcher.run(shared, calls, _as_it_is, self._abandon, self._reclaim)
        return workload.metrics(parts)

    def calibrated(self, asked: Calibration, workload: Workload, x: Tensor, buffers: Tensor) -> Tensor:
        """BatchNorm statistics ``[b]`` of the model ``x [d]`` by itself, minibatch by minibatch on the workers."""
        calls = [CalibrateCall(asked, k) for k in range(workload.minibatches(asked))]
        shared = {"x": as_array(x), BUFFERS: as_array(buffers)}
        parts = self._dispatcher.run(shared, calls, _as_it_is, self._abandon, self._reclaim)
        return mean_of(as_tensor(part) for part in parts)

    def judge(self, number: int, clients: int, x: Tensor, buffers: Tensor) -> dict[str, float]:
        """Metrics of the clients one by one; apart, as ``novel_...``, of those that never took part.

        Args:
            number: the round.
            clients: how many there are.
            x: the model ``[d]``.
            buffers: its statistics ``[b]``.
        """
        everybody = np.arange(clients)
        pieces = np.array_split(everybody, -(-clients // self._size))
        calls = [JudgeCall(number, ids, ~self._states.seen(ids)) for ids in pieces]

        def prepare(call: JudgeCall, attempt: int, near: bool) -> JudgeCall:
            del attempt
            old = self._states.slots_of(call.ids)
            return replace(call, states=Slots(old=old) if near else Slots(rows=self._states.rows(call.ids)))

        shared = {"x": as_array(x), BUFFERS: as_array(buffers)}
        parts = self._dispatcher.run(shared, calls, prepare, self._abandon, self._reclaim)
        new = np.concatenate([call.new for call in calls])
        return personal_metrics({n: np.concatenate([part[n] for part in parts]) for n in parts[0]}, new)

    def share(self, work: Sequence[Callable[[], None]]) -> None:
        """Parts of the driver's own work; see :meth:`Dispatcher.share`."""
        self._dispatcher.share(work)

    def _abandon(self, sent: Any, key: Hashable) -> None:
        if isinstance(sent, TrainCall | MixCall):
            self._states.quarantine(sent.states.new, key)
            self._helds.quarantine(sent.helds.new, key)

    def _reclaim(self, key: Hashable) -> None:
        self._states.release_quarantine(key)
        self._helds.release_quarantine(key)


def personal_metrics(values: Mapping[str, np.ndarray], new: np.ndarray) -> dict[str, float]:
    """:func:`spread_of` numbers of each client ``[N]``; apart, as ``novel_...``, of those that are ``new [N]``."""
    novel = {f"novel_{name}": value[new] for name, value in values.items()}
    return spread_of({name: value[~new] for name, value in values.items()} | novel)


def spread_of(values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Of numbers of each client ``[N]``: mean, the one at the end of the worst tenth, and standard deviation.

    Clients without a number (NaN) do not count; a name without any is left out.
    """
    found: dict[str, float] = {}
    for name, every in values.items():
        known = np.sort(every[~np.isnan(every)].astype(np.float64))
        if len(known):
            worst = known[len(known) // 10]
            found |= {
                name: float(known.mean()),
                f"{name}_worst": float(worst),
                f"{name}_spread": float(known.std()),
            }
    return found


def _slots(store: SlotStore, ids: Ids, near: bool) -> Slots:
    """Fresh slots for a block, and its rows or where they lie."""
    if near:
        return Slots(new=store.reserve(len(ids)), old=store.slots_of(ids))
    return Slots(new=store.reserve(len(ids)), rows=store.rows(ids))


def _as_it_is(call: _Plain, attempt: int, near: bool) -> _Plain:
    del attempt, near
    return call
