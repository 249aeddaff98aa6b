"""The check of what travels: bytes that were counted, and values that were decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedsparse.message import Payload
from fedsparse.protocol import Strategy
from fedsparse.testing.problem import Springs
from fedsparse.testing.report import ConformanceError, Finding, passed
from fedsparse.testing.trial import Setting, difference, played
from fedsparse.testing.watch import Call, fingerprint, watched
from fedsparse.wire import Limits, decode_payload

__all__ = ["check_wire"]

_SPARE = 1 << 16
"""Bytes that a payload may be longer than it was counted, so that the difference is found by its length."""


def check_wire(strategy: Strategy) -> Finding:
    """Every payload decodes to what ``dense()`` says, and has the length that was counted for it.

    Raises:
        ConformanceError: names the function, the payload and the difference.
    """
    lengths: list[int] = []
    wrong: list[str] = []

    def observer(_: Strategy, name: str, call: Call, args: tuple[Any, ...]) -> Any:
        result = call(*args)
        for key, payload in _message(name, result).items():
            if not key.startswith("@"):
                if fault := _fault(payload):
                    wrong.append(f"{name}: '{key}' {fault}")
                lengths.extend(payload.nbytes().tolist())
        return result

    counted = played(watched(strategy, observer), Springs.drawn())
    if wrong:
        raise ConformanceError(wrong[0])
    encoded = played(strategy, Springs.drawn(), replace(Setting(), encode=True))
    refused = [reason for record in encoded.records for reason in record.rejected]
    if refused:
        raise ConformanceError(f"the server refuses messages that it decoded itself: {refused[0]}")
    for number, (one, other) in enumerate(zip(counted.shots, encoded.shots, strict=True)):
        if found := difference(one, other):
            raise ConformanceError(f"with messages really encoded, {found} after {number} rounds")
    return passed(
        "wire",
        f"{len(lengths)} payloads encoded, decoded and measured",
        mean_bytes=sum(lengths) / max(1, len(lengths)),
    )


def _message(name: str, result: Any) -> Mapping[str, Payload]:
    found: Mapping[str, Payload] = (
        result if name == "broadcast" else result[1] if name == "client_update" else {}
    )
    return found


def _fault(payload: Payload) -> str:
    """What is wrong with a payload, in words; empty where nothing is."""
    dense, lengths = payload.dense(), payload.nbytes().tolist()
    limits = Limits(max_size=max(1, payload.size), max_bytes=max(lengths, default=0) + _SPARE)
    for row, length in enumerate(lengths):
        data = payload.encode(row)
        if len(data) != length:
            return f"has {len(data)} bytes and was counted as {length}"
        heard = decode_payload(data, limits).dense()[0]
        if fingerprint(heard) != fingerprint(dense[row]):
            off = float((heard - dense[row]).abs().max())
            return (
                f"is not what a receiver decodes: off by up to {off:.2g}; round values to the kind in which they "
                "travel, with fedsparse.message.round_to, or by a compressor's values=..."
            )
    return ""
