"""What the server says, and what it costs: compression of the downlink, and replicas that are brought up to date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedsparse import rng
from fedsparse.compress import Compressor, Identity, Scaled
from fedsparse.engine.block import BUFFERS, dense_nbytes
from fedsparse.engine.slab import Ids
from fedsparse.engine.traffic import Cost
from fedsparse.errors import ProtocolError
from fedsparse.ledger import CatchUp, Nbytes
from fedsparse.message import Dense, Mask, Payload, concatenate
from fedsparse.protocol import Message
from fedsparse.wire import (
    ENVELOPE_BYTES,
    SERVER,
    Envelope,
    Limits,
    decode_message,
    encode_message,
    message_nbytes,
)

__all__ = ["WHOLE", "Downlink", "Said", "plain", "ways"]

WHOLE = ("replica.", "held.")
"""What names begin with in a message that brings a client up to date: what is said besides is called otherwise."""


@dataclass(frozen=True)
class _ServerStreams:
    """The server's own random streams."""

    seed: int
    round: int

    def rng(self, purpose: str) -> rng.Streams:
        return rng.Streams(self.seed, f"server:{purpose}", self.round, [rng.NOBODY])


@dataclass(frozen=True)
class Said:
    """One broadcast.

    Attributes:
        message: what travels.
        values: what the audience decodes, ``[1, ...]`` or ``[A, ...]``.
        dense: bytes of the same values without compression, one receiver.
        replicated: names of what goes into replicas that all clients share.
        compressed: those of them that travel as changes, but for the first time.
        first: whether it is the first broadcast of all that is in replicas, so that nobody can have missed anything.
    """

    message: Message
    values: Mapping[str, Tensor]
    dense: int
    replicated: frozenset[str]
    compressed: frozenset[str] = frozenset()
    first: bool = False

    @property
    def news(self) -> dict[str, Payload]:
        """What changes replicas: the part that whoever missed it needs when it comes back."""
        return {name: payload for name, payload in self.message.items() if name in self.replicated}


class Downlink:
    """Compresses dense broadcasts with a memory at the server.

    The server keeps a replica z of what all clients hold of a value v, and sends C(v - z): what was left out stays in
    v - z, so nothing is lost for good (error feedback in the form of EF21). An unbiased compressor is used in its
    contractive form C / (1 + omega), without which z need not come closer. Whoever was away is charged for the messages
    that it missed, or for the dense value in one message where that is shorter; the first broadcast is the dense value.

    Source: Gruntkowska, Tyurin, Richtárik, "EF21-P and friends", ICML 2023; Tang et al., DoubleSqueeze, ICML 2019.
    """

    def __init__(
        self,
        compressor: Compressor,
        seed: int,
        shared: bool,
        run: int | None = None,
        fresh: tuple[str, ...] = (),
    ) -> None:
        """Args: the compressor; the run's seed; whether clients share what they hold, all of which comes of broadcasts;
        the number of the run, where broadcasts are really to be encoded and decoded; names of what is whole each time.
        """  # noqa: D205
        self._fresh = {*fresh, BUFFERS}
        self.replicas: dict[str, Tensor] = {}
        self.catch_up = CatchUp()
        self._active = not isinstance(compressor, Identity)
        self._compressor, self._seed, self._shared, self._run = compressor, seed, shared, run

    def say(self, message: Message, round: int, phase: str, number: int = 0) -> Said:  # noqa: A002
        """Compresses what can be: dense values of one row for all.

        Args:
            message: what the strategy says.
            round: the round.
            phase: name of the phase.
            number: of the phase within its round.
        """
        dense = {n for n, p in message.items() if self._active and isinstance(p, Dense) and p.rows == 1}
        sent = {n: self._change(n, p, round, phase) if n in dense else p for n, p in message.items()}
        if self._run is not None:
            sent = _over_the_wire(sent, Envelope(self._run, round, number, SERVER))
        values = {name: payload.dense() for name, payload in sent.items()}
        first = bool(dense) and not self.replicas and not self._shared
        for name in dense:
            if name in self.replicas:
                values[name] = self.replicas[name] + values[name]
            self.replicas[name] = values[name]
        replicated = message.keys() - self._fresh if self._shared else set()
        return Said(
            sent, values, dense_nbytes(message), frozenset(replicated | dense), frozenset(dense), first
        )

    def _change(self, name: str, payload: Payload, round: int, phase: str) -> Payload:  # noqa: A002
        known = self.replicas.get(name)
        if known is None:
            return payload
        value, compressor = payload.dense(), self._compressor
        if value.shape != known.shape or value.dtype != known.dtype:
            raise ProtocolError(
                f"broadcast '{name}' is {tuple(value.shape)} {value.dtype} in phase '{phase}', but it was "
                f"{tuple(known.shape)} {known.dtype} before; a compressed downlink needs one name for one value"
            )
        size = value.shape[-1]
        if compressor.delta(size) is None and compressor.omega(size) is not None:
            compressor = Scaled(compressor)
        return compressor.compress(value - known, _ServerStreams(self._seed, round), f"{phase}:{name}")

    def cost(self, said: Said, ids: Ids, arrived: np.ndarray, held: Mapping[str, Tensor]) -> Cost:
        """What each of the audience is sent; those whom it reaches are up to date afterwards.

        Args:
            said: the broadcast.
            ids: the audience ``[A]``.
            arrived: whose message arrives, ``[A]`` bool.
            held: what clients hold in common after they heard it, by name. What they hold as it was said is a replica
                and is not sent twice.
        """
        count = len(ids)
        payload, header = _nbytes(said.message, count)
        if said.replicated or (self._shared and said.message):
            news, whole = ways(said, plain(self.whole(held)))
            self.catch_up.said(news, whole)
            caught_up = self.catch_up.charge(ids, whole, arrived)
            payload, header = payload - news.payload + caught_up[0], header - news.header + caught_up[1]
        return Cost(payload, header, np.full(count, said.dense, dtype=np.int64))

    def whole(self, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What brings a client up to date that never heard anything, ``[1, ...]`` each.

        Args:
            held: what clients hold in common, by name.

        Returns:
            replicas as ``replica.NAME``, and as ``held.NAME`` what is held and is not the replica of that name.
        """
        found = {f"replica.{name}": value for name, value in self.replicas.items()}
        kept = {name: value for name, value in held.items() if name not in self._fresh}
        derived = {n: v for n, v in kept.items() if not _same(v, self.replicas.get(n))}
        return found | {f"held.{name}": value for name, value in derived.items()}

    def state(self) -> dict[str, np.ndarray]:
        """Everything as arrays, for a checkpoint."""
        arrays = {f"replica.{name}": value.numpy() for name, value in self.replicas.items()}
        return arrays | {f"catch_up.{name}": value for name, value in self.catch_up.state().items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on from what :meth:`state` gave."""
        self.replicas = {
            name.removeprefix("replica."): torch.from_numpy(value.copy())
            for name, value in arrays.items()
            if name.startswith("replica.")
        }
        self.catch_up.restore(
            {k.removeprefix("catch_up."): v for k, v in arrays.items() if k.startswith("catch_up.")}
        )


def ways(said: Said, whole: Message) -> tuple[Nbytes, Nbytes]:
    """Lengths of the two ways to tell a client what changes replicas.

    Args:
        said: a broadcast.
        whole: what brings a client up to date that never heard anything, as payloads of one row.

    Returns:
        of the news, and of the whole in their place in the same message, which may be the news; both with its envelope,
        unless there are no news: then the message is sent for the sake of something else, and nobody is sent it later.
    """
    envelope = ENVELOPE_BYTES if said.news else 0
    news = _fields(said.news, envelope)
    return news, news if said.first else _fields(whole, envelope)


def plain(values: Mapping[str, Tensor]) -> dict[str, Payload]:
    """Values ``[1, ...]`` as they travel without compression; whole numbers as float64, which is exact up to 2**53."""
    return {name: _plain(value.flatten(1)) for name, value in values.items()}


def _plain(row: Tensor) -> Payload:
    if row.dtype == torch.bool:
        return Mask(row)
    return Dense(row if row.is_floating_point() else row.to(torch.float64))


def _fields(message: Message, envelope: int) -> Nbytes:
    """The length of payloads of one row with their names and lengths, and of an envelope of so many bytes."""
    if not message:
        return Nbytes(0, envelope)
    payload, header = message_nbytes(message)
    return Nbytes(int(payload[0]), int(header[0]) - ENVELOPE_BYTES + envelope)


def _over_the_wire(message: Message, envelope: Envelope) -> dict[str, Payload]:
    """The message after it was encoded and decoded; payloads of one row for all are encoded once."""
    rows = max((payload.rows for payload in message.values()), default=0)
    limits = Limits(max_size=max((p.size for p in message.values()), default=1), max_bytes=1 << 62)
    decoded = []
    for row in range(rows):
        own = {n: p.select(slice(row, row + 1)) for n, p in message.items() if row < p.rows}
        decoded.append(decode_message(encode_message(own, 0, envelope), limits)[1])
    return {name: concatenate([row[name] for row in decoded if name in row]) for name in message}


def _nbytes(message: Message, count: int) -> tuple[Ids, Ids]:
    """Payload and header bytes for each of ``count`` receivers, ``[A]``; what is for all is not repeated for it."""
    payload, header = np.zeros(count, dtype=np.int64), np.full(count, ENVELOPE_BYTES, dtype=np.int64)
    for part in _by_rows(message):
        payload_bytes, header_bytes = message_nbytes(part)
        payload += payload_bytes.numpy()
        header += header_bytes.numpy() - ENVELOPE_BYTES
    return payload, header


def _by_rows(message: Message) -> Iterable[Message]:
    rows = sorted({payload.rows for payload in message.values()})
    return [{n: p for n, p in message.items() if p.rows == r} for r in rows]


def _same(value: Tensor, replica: Tensor | None) -> bool:
    return replica is not None and value.dtype == replica.dtype and value.equal(replica)
