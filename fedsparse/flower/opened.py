"""An answer that anybody may have sent, as the server's gates take it from a worker.

The gates refuse what is damaged, foreign, late or not finite, and count it by its reason. What a worker tells them
beside the message, they believe; of an answer from a device it is found out here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from flwr.app import RecordDict

from fedsparse.engine.block import dense_nbytes
from fedsparse.engine.calls import TrainReply
from fedsparse.engine.checks import shape_of
from fedsparse.engine.gates import Open
from fedsparse.engine.slab import Ids
from fedsparse.errors import DecodeError
from fedsparse.flower.letters import Answer
from fedsparse.message import Payload
from fedsparse.wire import Limits, Sealed, decode_message, message_nbytes, pass_on

__all__ = ["Kind", "Opened", "opened_of", "reply_of"]

_LONGEST = 1 << 31
"""The longest vector that an answer may stand for, while nobody knows what answers of a phase are like."""

Kind: TypeAlias = tuple[frozenset[tuple[str, tuple[str, int, torch.dtype]]], frozenset[str], int]
"""What an answer is made of: its payloads, the numbers that it records, and its bytes without compression."""


@dataclass(frozen=True)
class Opened:
    """An answer.

    Attributes:
        answer: what was sent; None where it cannot be read.
        message: its payloads; none where there are none, or they cannot be opened.
        readable: whether they can.
    """

    answer: Answer | None
    message: Mapping[str, Payload] = field(default_factory=dict)
    readable: bool = False

    @property
    def kind(self) -> Kind:
        """What it is made of."""
        closed = any(isinstance(payload, Sealed) for payload in self.message.values())
        scalars = self.answer.scalars if self.answer else ()
        dense = self.answer.dense_bytes if self.answer and closed else dense_nbytes(self.message)
        return frozenset(shape_of(self.message).items()), frozenset(scalars), dense


def opened_of(client: int, content: RecordDict | None, read: Open = decode_message) -> Opened:
    """An answer to an order for ``client``; whether it is of this run and exchange is for the gates to say.

    Args:
        client: who was asked.
        content: what came back.
        read: opens its message. One that is only passed on stays closed, and may be empty: in gossip there are
            exchanges in which nobody says anything.
    """
    try:
        answer = Answer.of(content if content is not None else RecordDict())
    except DecodeError:
        return Opened(None)
    if answer.client != client:
        return Opened(None)
    if not answer.message and read is pass_on:
        return Opened(answer, readable=True)
    try:
        limits = Limits(max_size=_LONGEST, max_bytes=len(answer.message))
        message = read(answer.message, limits)[1]
        return Opened(answer, message, readable=bool(message))
    except DecodeError:
        return Opened(answer)


def reply_of(opened: Opened, kind: Kind, taken_ns: Ids | None) -> TrainReply:
    """What a worker would have replied; of one that is not of the ``kind`` a reply that the gates refuse.

    Args:
        opened: the answer.
        kind: what answers of this phase are made of.
        taken_ns: how long it took, where that is measured.
    """
    answer, message = opened.answer, opened.message
    if answer is not None and opened.readable and opened.kind == kind:
        payload, header = (int(part[0]) for part in message_nbytes(message)) if message else (0, 0)
        return _reply(kind, answer, payload, header, kind[2], taken_ns)
    # Of the right payloads with a report that is wrong, the gates would see nothing but the right payloads.
    data = b"" if answer is None or opened.kind[0] == kind[0] else answer.message
    nothing = Answer(-1, data, math.nan, 0, 0, dict.fromkeys(kind[1], math.nan))
    return _reply(kind, nothing, 0, len(data), 0, taken_ns)


def _reply(
    kind: Kind, answer: Answer, payload: int, header: int, dense: int, taken_ns: Ids | None
) -> TrainReply:
    def one(value: int) -> Ids:
        return np.array([value], dtype=np.int64)

    return TrainReply(
        shapes=dict(kind[0]),
        packed={},
        encoded=[answer.message],
        finite=None,
        payload_bytes=one(payload),
        header_bytes=one(header),
        dense_bytes=one(dense),
        loss=np.array([answer.loss]),
        gradient_calls=one(answer.gradient_calls),
        examples=one(answer.examples),
        scalars={name: np.array([value]) for name, value in answer.scalars.items()},
        taken_ns=taken_ns,
    )
