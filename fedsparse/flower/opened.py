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
from fedsparse.wire import Limits, Sealed, decode_message, message_nbytes

__all__ = ["Kind", "Opened", "opened_of", "reply_of"]

_LONGEST = 1 << 31
"""The longest vector that an answer may stand for, while nobody knows what answers of a phase are like."""

Kind: TypeAlias = tuple[frozenset[tuple[str, tuple[str, int, torch.dtype]]], frozenset[str]]
"""What an answer is made of: its payloads, and the numbers that it records."""


@dataclass(frozen=True)
class Opened:
    """An answer.

    Attributes:
        answer: what was sent; None where it cannot be read.
        message: its payloads; none where they cannot be decoded.
    """

    answer: Answer | None
    message: Mapping[str, Payload] = field(default_factory=dict)

    @property
    def silent(self) -> bool:
        """Whether nothing was said on purpose."""
        return self.answer is not None and not self.answer.message

    @property
    def kind(self) -> Kind:
        """What it is made of."""
        return frozenset(shape_of(self.message).items()), frozenset(
            self.answer.scalars if self.answer else ()
        )


def opened_of(client: int, content: RecordDict | None, read: Open = decode_message) -> Opened:
    """An answer to an order for ``client``; whether it is of this run and exchange is for the gates to say.

    Args:
        client: whom the order was for.
        content: what came.
        read: opens the message, or only what is around its payloads.
    """
    try:
        answer = Answer.of(content if content is not None else RecordDict())
    except DecodeError:
        return Opened(None)
    if answer.client != client:
        return Opened(None)
    try:
        limits = Limits(max_size=_LONGEST, max_bytes=len(answer.message))
        return Opened(answer, read(answer.message, limits)[1])
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
    if answer is not None and opened.kind == kind:
        payload, header = (int(part[0]) for part in message_nbytes(message)) if message else (0, 0)
        sealed = any(isinstance(p, Sealed) for p in message.values())
        dense = answer.dense_bytes if sealed else dense_nbytes(message)
        finite = np.array([answer.finite]) if sealed else None
        return _reply(kind, answer, (payload, header, dense), taken_ns, finite)
    # Of the right payloads with a report that is wrong, the gates would see nothing but the right payloads.
    data = b"" if answer is None or opened.kind[0] == kind[0] else answer.message
    nothing = Answer(-1, data, math.nan, 0, 0, scalars=dict.fromkeys(kind[1], math.nan))
    return _reply(kind, nothing, (0, len(data), 0), taken_ns, None)


def _reply(
    kind: Kind,
    answer: Answer,
    nbytes: tuple[int, int, int],
    taken_ns: Ids | None,
    finite: np.ndarray | None,
) -> TrainReply:
    payload, header, dense = nbytes

    def one(value: int) -> Ids:
        return np.array([value], dtype=np.int64)

    return TrainReply(
        shapes=dict(kind[0]),
        packed={},
        encoded=[answer.message],
        finite=finite,
        payload_bytes=one(payload),
        header_bytes=one(header),
        dense_bytes=one(dense),
        loss=np.array([answer.loss]),
        gradient_calls=one(answer.gradient_calls),
        examples=one(answer.examples),
        scalars={name: np.array([value]) for name, value in answer.scalars.items()},
        taken_ns=taken_ns,
    )
