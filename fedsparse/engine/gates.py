"""What a message passes before it counts: decoding, then validation. Each refusal has a reason, which is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch

from fedsparse.engine.calls import MessageShape, TrainReply
from fedsparse.engine.checks import NOT_FINITE, finite_rows, shape_of
from fedsparse.engine.slab import Ids
from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.message import Payload, concatenate
from fedsparse.wire import Envelope, Limits, check_envelope, decode_message, unpack

__all__ = ["Gates", "Open"]

Open: TypeAlias = Callable[[bytes, Limits], tuple[Envelope, dict[str, Payload]]]
"""Opens a message that anybody may have sent, or raises DecodeError."""

_UNKNOWN = 1 << 31
"""The longest vector that is accepted before any message has told the lengths."""

_SLACK = 4096
"""Bytes of envelope, names and heads that a message may have beside its values."""


class Gates:
    """Decodes and validates the messages of one phase.

    Args:
        who: the strategy's name, for errors.
        run: number of the run.
        round: the round.
        number: of the phase within the round.
        shapes: of each payload, as earlier messages of this phase had it; ``None`` at the first.
        max_norm: messages with a payload of larger norm are refused.
        limits: what a message may be, where shapes do not tell.
        opened: opens one message.

    Attributes:
        refused: why a message was refused, by sender.
    """

    def __init__(
        self,
        who: str,
        run: int,
        round: int,  # noqa: A002
        number: int,
        shapes: MessageShape | None,
        max_norm: float | None,
        limits: Limits | None = None,
        opened: Open = decode_message,
    ) -> None:
        self.shapes = shapes
        self.refused: dict[int, str] = {}
        self._own_limits, self._opened = limits, opened
        self._who, self._key, self._max_norm = who, (run, round, number), max_norm

    def open(self, reply: TrainReply, ids: Ids, arrived: np.ndarray) -> tuple[dict[str, Payload], np.ndarray]:
        """The messages of one block that are in order.

        Args:
            reply: of the block.
            ids: its clients ``[C]``.
            arrived: whose message came, and in time, ``[C]`` bool; nobody looks at the others.

        Returns:
            the messages that passed, and whose they are, ``[C]`` bool; no message where none passed.

        Raises:
            ProtocolError: our own workers' messages differ in kind from those of earlier blocks: a strategy's mistake.
        """
        self._same(reply.shapes)
        passed = arrived.copy()
        if reply.encoded is not None:
            return self.read(reply.encoded, ids, passed, reply.finite), passed
        message = _select(unpack(reply.packed), passed)
        return self._validate(message, ids, passed, reply.finite), passed

    def read(
        self, encoded: Sequence[bytes], ids: Ids, passed: np.ndarray, finite: np.ndarray | None = None
    ) -> dict[str, Payload]:
        """The messages that are in order of those that are ``passed [C]``, which becomes those.

        Args:
            encoded: the messages of the clients.
            ids: the clients ``[C]``.
            passed: whose message came, ``[C]`` bool; changed in place.
            finite: whether all numbers are, ``[C]`` bool, where the bytes do not say it themselves.
        """
        return self._validate(self._decode(encoded, ids, passed), ids, passed, finite)

    def decode_one(self, data: bytes, sender: int) -> dict[str, Payload]:
        """One sender's payloads.

        Raises:
            DecodeError: the bytes are damaged, foreign, late, or not of the kind that this phase has.
        """
        run, round_, number = self._key
        envelope, message = self._opened(data, self._own_limits or self._limits(len(data)))
        check_envelope(envelope, run, round_, number, (sender,))
        found = shape_of(message)
        if self.shapes is not None and found != self.shapes:
            raise DecodeError(f"kind: the message has {found}, this phase has {self.shapes}")
        return message

    def _limits(self, length: int) -> Limits:
        """What a message of this phase may be: no encoding is twice as long as the plain values."""
        if self.shapes is None:
            return Limits(max_size=_UNKNOWN, max_bytes=length)
        plain = sum(size * dtype.itemsize for _, size, dtype in self.shapes.values())
        longest = max(size for _, size, _ in self.shapes.values())
        return Limits(max_size=longest, max_bytes=2 * plain + _SLACK)

    def _decode(self, encoded: Sequence[bytes], ids: Ids, passed: np.ndarray) -> dict[str, Payload]:
        rows: list[dict[str, Payload]] = []
        for k in np.flatnonzero(passed).tolist():
            try:
                rows.append(self.decode_one(encoded[k], int(ids[k])))
            except DecodeError as error:
                self._refuse(ids, passed, k, f"decode: {str(error).split(':')[0]}")
        return {name: concatenate([row[name] for row in rows]) for name in rows[0]} if rows else {}

    def _same(self, found: MessageShape) -> None:
        if self.shapes is None:
            self.shapes = found
        elif found != self.shapes:
            raise ProtocolError(
                f"{self._who}: a message has {found}, but earlier ones of this phase had {self.shapes}; names, "
                "classes, sizes and dtypes are fixed for each phase"
            )

    def _validate(
        self, message: dict[str, Payload], ids: Ids, passed: np.ndarray, known: np.ndarray | None
    ) -> dict[str, Payload]:
        if not passed.any():
            return {}
        finite = finite_rows(message).numpy() if known is None else known[passed]
        short = np.ones_like(finite)
        if self._max_norm is not None:
            norms = torch.stack([p.norm() for p in message.values()]).amax(0).numpy()
            short = norms <= self._max_norm
        for k, is_finite, is_short in zip(np.flatnonzero(passed).tolist(), finite, short, strict=True):
            if not is_finite:
                self._refuse(ids, passed, k, NOT_FINITE)
            elif not is_short:
                self._refuse(ids, passed, k, "norm above the limit")
        return _select(message, finite & short)

    def _refuse(self, ids: Ids, passed: np.ndarray, k: int, reason: str) -> None:
        passed[k] = False
        self.refused[int(ids[k])] = reason


def _select(message: dict[str, Payload], wanted: np.ndarray) -> dict[str, Payload]:
    """The rows that are wanted, ``[C]`` bool; the same objects where all are."""
    if wanted.all():
        return message
    keep = torch.from_numpy(wanted)
    return {name: payload.select(keep) for name, payload in message.items()} if wanted.any() else {}
