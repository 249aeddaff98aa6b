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
    than the dense value.
    """

    def __init__(self) -> None:
        self._news: list[Nbytes] = []
        self._forgotten = 0  # how many there were before these
        self._heard = PerClient()

    def said(self, news: Nbytes, dense: Nbytes) -> None:
        """A broadcast is made; comes before its :meth:`charge`.

        Args:
            news: length of what it says of the replica; where that is nothing, nobody can miss it.
            dense: length of the replica itself, without compression, in one message.
        """
        if news.total:
            self._news.append(news)
        while sum(one.total for one in self._news) > dense.total:
            del self._news[0]
            self._forgotten += 1

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
        since = self._heard.get(clients) - self._forgotten
        self._heard.set(clients if received is None else clients[received], self._forgotten + len(self._news))
        # What each broadcast and those after it come to, and nothing for who heard them all.
        newest_first = np.array([(0, 0), *reversed(self._news)], dtype=np.int64)
        missed = newest_first.cumsum(axis=0)[::-1][np.maximum(since, 0)]
        payload, header = np.where(since[:, None] < 0, dense, missed).T
        return payload, header

    def state(self) -> dict[str, _Ints]:
        """Everything as arrays, for a checkpoint."""
        return {
            "news": np.array(self._news, dtype=np.int64).reshape(-1, 2),
            "forgotten": np.array([self._forgotten], dtype=np.int64),
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
        self._news = [Nbytes(*one) for one in news.tolist()]
        self._forgotten, self._heard = int(forgotten[0]), PerClient()
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
