"""The lines between server and clients: what gets lost, what is charged, and how long it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedsparse.engine.calls import TrainReply
from fedsparse.engine.exchange import Exchange
from fedsparse.engine.plan import Plan
from fedsparse.engine.slab import Ids
from fedsparse.errors import ProtocolError
from fedsparse.ledger import Ledger
from fedsparse.network import NEVER, finish_times

__all__ = ["Cost", "Delivery", "Traffic"]

_Direction = Literal["up", "down"]

_RETRIES = 1000
"""Attempts to reach a client that must be reached, before it is called unreachable."""


@dataclass(frozen=True)
class Cost:
    """What C messages cost each time they are sent, ``[C]`` int64 each.

    Attributes:
        payload: bytes of the values.
        header: bytes around them.
        dense: bytes of the same values without compression.
    """

    payload: Ids
    header: Ids
    dense: Ids

    @property
    def total(self) -> Ids:
        """Bytes in all, ``[C]``."""
        return self.payload + self.header

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.payload + other.payload, self.header + other.header, self.dense + other.dense)

    @staticmethod
    def of_nothing(count: int) -> Cost:
        """Of ``count`` messages that are not there."""
        nothing = np.zeros(count, dtype=np.int64)
        return Cost(nothing, nothing, nothing)

    @staticmethod
    def of(replies: Sequence[TrainReply]) -> Cost:
        """Of the clients' messages."""
        nothing = np.zeros(0, dtype=np.int64)
        return Cost(
            np.concatenate([nothing, *(reply.payload_bytes for reply in replies)]),
            np.concatenate([nothing, *(reply.header_bytes for reply in replies)]),
            np.concatenate([nothing, *(reply.dense_bytes for reply in replies)]),
        )


@dataclass(frozen=True)
class Delivery:
    """What becomes of C messages.

    Attributes:
        attempts: how often each is sent, ``[C]``.
        arrived: whether the last attempt arrives, ``[C]`` bool.
    """

    attempts: Ids
    arrived: np.ndarray

    @staticmethod
    def of_nothing(count: int) -> Delivery:
        """Where nothing is said, nothing can be lost."""
        return Delivery(np.zeros(count, dtype=np.int64), np.ones(count, dtype=bool))


class Traffic:
    """The account of a run: its bytes, and its virtual time.

    Attributes:
        ledger: the bytes.
        now_ns: virtual nanoseconds since the start.
    """

    def __init__(self, plan: Plan) -> None:
        self.ledger = Ledger()
        self.now_ns = 0
        self._plan = plan

    def deliver(self, direction: _Direction, exchange: Exchange, ids: Ids) -> Delivery:
        """Sends one message from or to each of ``ids [C]``; again until it arrives, where the phase must be complete.

        Raises:
            ProtocolError: a client that must be reached cannot be.
        """
        ctx, plan = exchange.ctx, self._plan
        attempts = np.ones(len(ids), dtype=np.int64)
        lost = plan.faults.lost(direction, plan.seed, ctx.round, ctx.phase, 0, ids)
        for attempt in range(1, _RETRIES if exchange.complete else 1):
            again = np.flatnonzero(lost)
            if not len(again):
                break
            attempts[again] += 1
            lost[again] = plan.faults.lost(direction, plan.seed, ctx.round, ctx.phase, attempt, ids[again])
        if exchange.complete and lost.any():
            raise ProtocolError(
                f"{type(exchange.strategy).__name__}: phase '{ctx.phase}' needs every client, and client "
                f"{ids[lost][0]} could not be reached in {_RETRIES} attempts; lower faults.{direction}link_loss"
            )
        return Delivery(attempts, ~lost)

    def book(self, direction: _Direction, ids: Ids, cost: Cost, sent: Delivery) -> None:
        """Charges every attempt."""
        if (sent.attempts == 1).all():
            lost = ~sent.arrived
            self.ledger.send(direction, ids, cost.payload, header=cost.header, dense=cost.dense, lost=lost)
            return
        for attempt in range(1, int(sent.attempts.max(initial=0)) + 1):
            now = sent.attempts >= attempt
            arrives = sent.arrived & (sent.attempts == attempt)
            self.ledger.send(
                direction,
                ids[now],
                cost.payload[now],
                header=cost.header[now],
                dense=cost.dense[now],
                lost=~arrives[now],
            )

    def pass_time(
        self,
        exchange: Exchange,
        ids: Ids,
        down_bytes: Ids,
        examples: Ids,
        up_bytes: Ids,
        arrived: np.ndarray,
        taken_ns: Ids | None = None,
    ) -> np.ndarray:
        """Advances the clock to the end of the phase.

        Args:
            exchange: the phase.
            ids: clients that heard, ``[C]``.
            down_bytes: what each was sent, all attempts together, ``[C]``.
            examples: that each computed, ``[C]``.
            up_bytes: what each sent, all attempts together, ``[C]``.
            arrived: whose message arrives at all, ``[C]`` bool.
            taken_ns: how long each took, ``[C]``, where that is measured and not left to the network model.

        Returns:
            whose message arrives in time, ``[C]`` bool.
        """
        plan = self._plan
        needed = np.zeros(len(ids), dtype=np.int64) if taken_ns is None else taken_ns
        if taken_ns is None and plan.network.profile != "none":
            links = plan.network.links(plan.seed, ids, exchange.ctx.round)
            needed = finish_times(links, down_bytes, examples, up_bytes)
        times = np.where(arrived, needed, NEVER)
        if exchange.complete:
            self.now_ns += int(times.max(initial=0))
            return arrived
        closed = plan.deadline.close(times, ids, exchange.wanted)
        self.now_ns += closed.round_ns
        return closed.accepted
