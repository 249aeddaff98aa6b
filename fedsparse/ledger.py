"""Bytes: what was sent, in which direction, and what it would have been without compression."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedsparse.errors import CheckpointError
from fedsparse.perclient import PerClient

__all__ = ["COUNTERS", "CatchUp", "Direction", "Ledger", "Nbytes", "ratio", "sent_bytes"]

Direction = Literal["up", "down", "radio"]
"""To the server, or along a link to a neighbour; from the server; or to all neighbours at once, as a radio does it."""

_SERVER: tuple[Direction, ...] = ("up", "down")

COUNTERS = ("payload_bytes", "header_bytes", "dense_bytes", "messages", "lost")
"""What is counted in each direction. A lost message was sent: its bytes count, and ``lost`` says so."""

_Ints = NDArray[np.int64]

_LEAST = 64
"""Rows of sums that there is room for at first."""


class Ledger:
    """Adds up what is sent, for the round and for the run: ``up_payload_bytes``, ``down_lost`` and so on.

    Args:
        directions: those that are counted.
    """

    def __init__(self, directions: tuple[Direction, ...] = _SERVER) -> None:
        self._directions = directions
        self._round = np.zeros((len(directions), len(COUNTERS)), dtype=np.int64)
        self._total = np.zeros_like(self._round)

    def send(
        self,
        direction: Direction,
        ids: Sequence[int] | _Ints,
        payload: ArrayLike,
        *,
        header: ArrayLike = 0,
        dense: ArrayLike = 0,
        lost: ArrayLike = False,
    ) -> None:
        """Books one message of each client.

        Args:
            direction: ``"up"``, ``"radio"``: the clients are the senders; ``"down"``: the receivers.
            ids: clients, ``[C]``.
            payload: bytes of the payloads, ``[C]`` or one number for each of them; so are the rest.
            header: bytes of envelopes and headers.
            dense: bytes of the same message without compression.
            lost: whose message did not arrive.
        """
        count = len(ids)
        sums = np.array([_total(column, count) for column in (payload, header, dense, 1, lost)])
        side = self._directions.index(direction)
        self._round[side] += sums
        self._total[side] += sums

    def round(self) -> dict[str, int]:
        """The counters since it was last called, which then start at zero again."""
        snapshot = self._named(self._round)
        self._round[:] = 0
        return snapshot

    def total(self) -> dict[str, int]:
        """The counters of the whole run."""
        return self._named(self._total)

    def state(self) -> dict[str, _Ints]:
        """Everything as arrays, for a checkpoint."""
        return {"round": self._round.copy(), "total": self._total.copy()}

    def restore(self, state: Mapping[str, _Ints]) -> None:
        """Goes on from what :meth:`state` gave.

        Raises:
            CheckpointError: an array is missing or has the wrong shape.
        """
        shape = self._round.shape
        counters = {name: _array(state, "ledger", name, shape) for name in ("round", "total")}
        self._round, self._total = counters["round"], counters["total"]

    def _named(self, counters: _Ints) -> dict[str, int]:
        return {
            f"{direction}_{counter}": int(counters[side, column])
            for side, direction in enumerate(self._directions)
            for column, counter in enumerate(COUNTERS)
        }


class Nbytes(NamedTuple):
    """The length of something that is sent: of its payloads, and of what is around them."""

    payload: int
    header: int

    @property
    def total(self) -> int:
        """Both."""
        return self.payload + self.header


class CatchUp:
    """What it costs to bring a client up to date that shares a replica with all others.

    Whoever heard the last broadcast pays for the new one; an absentee pays for all it missed, each in the envelope
    that it was said in, or for the dense value in one message where that is shorter; a client never seen pays for the
    dense value. Keeps one number for each client, and the lengths of the last broadcasts, which together are no more
    than the dense value. A broadcast takes as much work in the last round as in the first.
    """

    def __init__(self) -> None:
        # Payloads and what is around them of all broadcasts so far together, after each: a difference of two rows is
        # what the broadcasts between them come to, however many those are.
        self._sums = np.zeros((_LEAST, 2), dtype=np.int64)
        self._count = 0  # broadcasts that these rows are about; the first row is before them
        self._first = 0  # those of them that are forgotten
        self._before = 0  # broadcasts that have no row any more
        self._heard = PerClient()

    def said(self, news: Nbytes, dense: Nbytes) -> None:
        """A broadcast is made; comes before its :meth:`charge`.

        Args:
            news: length of what it says of the replica; where that is nothing, nobody can miss it.
            dense: length of the replica itself, without compression, in one message.
        """
        if news.total:
            self._add(news)
        while self._sums[self._count].sum() - self._sums[self._first].sum() > dense.total:
            self._first += 1

    def _add(self, news: Nbytes) -> None:
        if self._count + 1 == len(self._sums):
            kept = self._sums[self._first :]
            self._sums = np.zeros((max(_LEAST, 2 * len(kept)), 2), dtype=np.int64)
            self._sums[: len(kept)] = kept
            self._before += self._first
            self._count, self._first = self._count - self._first, 0
        self._sums[self._count + 1] = self._sums[self._count] + news
        self._count += 1

    def forget(self, ids: _Ints) -> None:
        """Nobody knows what these clients ``[C]`` heard: they pay for the dense value next."""
        self._heard.unset(ids)

    def charge(
        self, ids: Sequence[int] | _Ints, dense: Nbytes, received: NDArray[np.bool_] | None = None
    ) -> tuple[_Ints, _Ints]:
        """Bytes of payloads and around them that each client is sent, ``[C]`` each; who receives them is up to date.

        Args:
            ids: clients, ``[C]``, each once.
            dense: as in :meth:`said`.
            received: whose message arrives, ``[C]``; all of them unless given.
        """
        clients = np.asarray(ids, dtype=np.int64)
        since = self._heard.get(clients) - self._before
        self._heard.set(clients if received is None else clients[received], self._before + self._count)
        missed = self._sums[self._count] - self._sums[np.maximum(since, self._first)]
        payload, header = np.where(since[:, None] < self._first, dense, missed).T
        return payload, header

    def state(self) -> dict[str, _Ints]:
        """Everything as arrays, for a checkpoint."""
        return {
            "news": np.diff(self._sums[self._first : self._count + 1], axis=0),
            "forgotten": np.array([self._before + self._first], dtype=np.int64),
            "heard": np.stack(self._heard.items(), axis=1),
        }

    def restore(self, state: Mapping[str, _Ints]) -> None:
        """Goes on from what :meth:`state` gave.

        Raises:
            CheckpointError: an array is missing or has the wrong shape.
        """
        news = _array(state, "catch-up", "news", (-1, 2))
        forgotten = _array(state, "catch-up", "forgotten", (1,))
        heard = _array(state, "catch-up", "heard", (-1, 2))
        self._sums = np.zeros((max(_LEAST, 2 * (len(news) + 1)), 2), dtype=np.int64)
        self._sums[1 : len(news) + 1] = news.cumsum(axis=0)
        self._count, self._first, self._before = len(news), 0, int(forgotten[0])
        self._heard = PerClient()
        self._heard.set(heard[:, 0], heard[:, 1])


def sent_bytes(counters: Mapping[str, int], direction: Direction) -> int:
    """Payload and header bytes of one direction in the counters that a :class:`Ledger` gave."""
    return counters.get(f"{direction}_payload_bytes", 0) + counters.get(f"{direction}_header_bytes", 0)


def ratio(counters: Mapping[str, int]) -> float:
    """Bytes without compression over bytes sent, both directions together; NaN where nothing was sent."""
    sent = sum(sent_bytes(counters, direction) for direction in _SERVER)
    dense = sum(counters.get(f"{direction}_dense_bytes", 0) for direction in _SERVER)
    return dense / sent if sent else math.nan


def _total(column: ArrayLike, count: int) -> int:
    """Sum of ``[count]`` numbers, or of one number for each."""
    values = np.asarray(column)
    spread = values if values.shape == (count,) else np.broadcast_to(values, (count,))
    return int(spread.sum(dtype=np.int64))


def _array(state: Mapping[str, _Ints], part: str, name: str, shape: tuple[int, ...]) -> _Ints:
    """A copy of one array of a checkpoint; -1 in ``shape`` is any length."""
    found = state.get(name)
    fits = found is not None and len(found.shape) == len(shape)
    if (
        found is None
        or not fits
        or any(want not in (-1, have) for want, have in zip(shape, found.shape, strict=True))
    ):
        has = "is missing" if found is None else f"has shape {found.shape}"
        raise CheckpointError(
            f"the {part} of the checkpoint: {name} {has}, expected {shape}; use an older checkpoint"
        )
    return np.array(found, dtype=np.int64)
