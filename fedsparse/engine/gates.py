"""What a message passes before it counts: decoding, then validation. Each refusal is counted by its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from fedsparse.engine.calls import TrainReply
from fedsparse.engine.checks import MessageShape, shape_of
from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.message import Payload, concatenate
from fedsparse.wire import Limits, check_envelope, decode_message, from_arrays

__all__ = ["Gates"]

_SLACK = 4096
"""Bytes that a message may be longer than its values without compression."""


class Gates:
    """Decodes and validates the messages of one phase.

    Args:
        who: the strategy's name, for errors.
        run: number of the run.
        round: the round.
        number: of the phase within the round.
        shapes: of each payload, as earlier messages of this phase had it; ``None`` at the first.
        max_norm: messages with a larger norm are refused.
    """

    def __init__(
        self, who: str, run: int, round: int, number: int, shapes: MessageShape | None, max_norm: float | None  # noqa: A002
    ) -> None:
        self.shapes = shapes
        self.rejected: Counter[str] = Counter()
        self._who, self._key, self._max_norm = who, (run, round, number), max_norm

    def open(self, reply: TrainReply, ids: np.ndarray) -> tuple[Mapping[str, Payload], np.ndarray]:
        """The messages of one block that are in order, and which those are, ``[C]`` bool.

        Raises:
            ProtocolError: our own workers' messages differ in kind from those of earlier blocks: a strategy's mistake.
        """
        passed = np.ones(len(ids), dtype=bool)
        if reply.encoded is None:
            message: dict[str, Payload] = {name: from_arrays(packed) for name, packed in reply.packed.items()}
        else:
            message, passed = self._decode(reply.encoded, ids)
        if not message:
            return message, passed
        self._same(message)
        return self._validate(message, passed)

    def _decode(self, encoded: Sequence[bytes], ids: np.ndarray) -> tuple[dict[str, Payload], np.ndarray]:
        passed = np.ones(len(ids), dtype=bool)
        rows: list[dict[str, Payload]] = []
        for k, (data, sender) in enumerate(zip(encoded, ids.tolist(), strict=True)):
            try:
                rows.append(self.decode_one(data, sender))
            except DecodeError as error:
                self.rejected[f"decode: {str(error).split(':')[0]}"] += 1
                passed[k] = False
        if not rows:
            return {}, passed
        return {name: concatenate([row[name] for row in rows]) for name in rows[0]}, passed

    def decode_one(self, data: bytes, sender: int) -> dict[str, Payload]:
        """One sender's payloads.

        Raises:
            DecodeError: the bytes are damaged, foreign, late, or not of the kind that this phase has.
        """
        run, round_, number = self._key
        longest = max((size for _, size, _ in (self.shapes or {}).values()), default=1 << 31)
        limits = Limits(max_size=longest, max_bytes=max(len(data), _SLACK))
        envelope, message = decode_message(data, limits)
        check_envelope(envelope, run, round_, number, (sender,))
        found = shape_of(message)
        if self.shapes is not None and found != self.shapes:
            raise DecodeError(f"kind: the message has {found}, this phase has {self.shapes}")
        return message

    def _same(self, message: Mapping[str, Payload]) -> None:
        found = shape_of(message)
        if self.shapes is None:
            self.shapes = found
        elif found != self.shapes:
            raise ProtocolError(
                f"{self._who}: a message has {found}, but earlier ones of this phase had {self.shapes}; names, classes, "
                "sizes and dtypes are fixed for each phase"
            )

    def _validate(
        self, message: Mapping[str, Payload], passed: np.ndarray
    ) -> tuple[Mapping[str, Payload], np.ndarray]:
        finite = torch.stack([p.finite() for p in message.values()]).all(0).numpy()
        short = np.ones_like(finite)
        if self._max_norm is not None:
            norms = torch.stack([p.norm() for p in message.values()]).amax(0).numpy()
            short = ~finite | (norms <= self._max_norm)
        for reason, good in (("not finite", finite), ("norm above the limit", short)):
            if not good.all():
                self.rejected[reason] += int((~good).sum())
        good = finite & short
        if good.all():
            return message, passed
        passed[np.flatnonzero(passed)[~good]] = False
        keep = torch.from_numpy(good)
        return {name: p.select(keep) for name, p in message.items()}, passed
