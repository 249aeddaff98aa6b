"""The clients of a run as devices: what goes out are orders, and what comes back are answers that may be anything."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import Tensor

from fedsparse.engine.block import Workload
from fedsparse.engine.blocks import Answer
from fedsparse.engine.calls import TrainCall
from fedsparse.engine.exchange import Exchange
from fedsparse.engine.gates import Open
from fedsparse.engine.plan import Plan
from fedsparse.engine.slab import Ids
from fedsparse.engine.slots import SlotStore
from fedsparse.errors import WorkerError
from fedsparse.flower.letters import NEVER, Stamp
from fedsparse.flower.line import Meter
from fedsparse.flower.opened import Kind, opened_of, reply_of
from fedsparse.flower.post import Post, Returned, Terms
from fedsparse.wire import decode_message

__all__ = ["Devices"]

_LAST = 999
"""A number that no exchange of a round reaches."""


class Devices:
    """The devices of a run, and what a server with clients and one without have in common.

    Args:
        plan: what is run.
        post: the way to them.
        accepted: of each client, the exchange of which its answer was accepted last.
        patience: seconds that an answer may take.
        meter: of what passes on the line, where that is measured.
        real: time is what passes here, and not what the network model says.
        read: opens what they answer.

    Attributes:
        run: number of the run.
    """

    def __init__(
        self,
        plan: Plan,
        post: Post,
        accepted: SlotStore,
        patience: float,
        meter: Meter | None = None,
        real: bool = False,
        read: Open = decode_message,
    ) -> None:
        self.run = plan.run
        self._plan, self._post, self._accepted = plan, post, accepted
        self._patience, self._meter, self._real, self._read = patience, meter, real, read
        self._saved: dict[int, Stamp] = {}
        self._safe = NEVER
        self._life = secrets.randbits(63)
        self._kinds: dict[str, Kind] = {}

    # ---- what the server does itself

    def close_round(self) -> None:
        """Nothing is left of a round but what devices keep."""

    def evaluate(self, workload: Workload, x: Tensor, buffers: Tensor) -> dict[str, float]:
        """Metrics of the model ``x [d]`` with statistics ``buffers [b]``, computed by the server."""
        predict = self._plan.strategy.predict
        return workload.metrics(
            [workload.evaluate(x, buffers, chunk, predict) for chunk in range(workload.chunks)]
        )

    def share(self, work: Sequence[Callable[[], None]]) -> None:
        """The server's own work, which nobody shares."""
        for part in work:
            part()

    def passed(self) -> dict[str, int]:
        """What was on the way since this was asked last, in Flower's own form, and on the line where it is measured."""
        counted = dict(self._post.counted) | (self._meter.passed() if self._meter else {})
        self._post.counted.clear()
        return counted

    # ---- checkpoints

    def saved(self, number: int) -> None:
        """A checkpoint was made after round ``number``: devices can go back to it, and need to no further."""
        self._safe = Stamp(number, _LAST)
        self._saved = {int(client): self._stamp(int(client)) for client in self._accepted.known()}

    # ---- orders and answers

    def _stamp(self, client: int) -> Stamp:
        rows = self._accepted.rows(np.array([client], dtype=np.int64))
        return Stamp(int(rows["round"][0]), int(rows["number"][0]))

    def _accept(self, ids: Ids, stamp: Stamp) -> None:
        """The clients' states ``[C]`` are from now on those of that exchange."""
        rows = {name: np.full(len(ids), value, dtype=np.int64) for name, value in stamp._asdict().items()}
        self._accepted.write(ids, rows)

    def _terms(self, exchange: Exchange, count: int) -> Terms:
        if exchange.complete or not self._real:
            return Terms(count, self._patience)
        deadline = self._plan.deadline.deadline
        return Terms(min(count, exchange.wanted), self._patience if deadline is None else deadline)

    def _check(self, exchange: Exchange, ids: Sequence[int], returned: Mapping[int, Returned]) -> None:
        failed = {c: r.reason for c, r in returned.items() if r.content is None}
        if failed and len(failed) == len(ids):
            client, reason = min(failed.items())
            raise WorkerError(
                f"all {len(ids)} devices failed in round {exchange.ctx.round}; client {client}: {reason}"
            )
        silent = sorted((set(ids) - returned.keys()) | failed.keys())
        if exchange.complete and silent:
            raise WorkerError(
                f"phase '{exchange.ctx.phase}' of round {exchange.ctx.round} needs every client, and client "
                f"{silent[0]} did not answer within engine.patience={self._patience:g} s; "
                "bring it back and resume the run"
            )

    def _answers(
        self, exchange: Exchange, answered: Mapping[int, Returned], place: Mapping[int, int]
    ) -> list[Answer]:
        opened = {
            client: opened_of(client, returned.content, self._read) for client, returned in answered.items()
        }
        phase = exchange.ctx.phase
        if phase not in self._kinds:
            kinds = Counter(found.kind for found in opened.values() if found.readable)
            if not kinds:
                return []
            # Of the first answers most are what our own code sends; the others are refused.
            self._kinds[phase] = kinds.most_common(1)[0][0]
        made = []
        for client, returned in answered.items():
            ids, at = np.array([client], dtype=np.int64), np.array([place[client]], dtype=np.int64)
            call = TrainCall(exchange.ctx.round, phase, exchange.number, exchange.ctx.now, ids, at)
            taken = np.array([returned.taken_ns], dtype=np.int64) if self._real else None
            made.append(Answer(call, reply_of(opened[client], self._kinds[phase], taken)))
        return made
