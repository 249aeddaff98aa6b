"""Other types of values: how many bytes the recorded messages would take with them.

Known where a message is all values, or top-k or rand-k of a known share: the number of values follows from the bytes
without compression, and what is left of the payload is their places, which stay as they are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fedsparse.errors import ConfigError, RunFolderError
from fedsparse.report.course import Floats, Run
from fedsparse.report.whatif.rounds import Leg, Rounds
from fedsparse.words import there_are

__all__ = ["WIDTHS", "parse_kind", "recoded"]

WIDTHS = {"fp64": 8, "fp32": 4, "fp16": 2, "bf16": 2}
"""Bytes of a value, by type; those of :mod:`fedsparse.wire.values` that have no scale."""

_NATIVE = 4
_SPARSE = ("topk", "randk")
_HEAD = 64
"""Bytes that a payload has at most beside values and places."""


def parse_kind(text: str) -> str:
    """The type of values that is meant.

    Raises:
        ConfigError: there is no such type.
    """
    if text not in WIDTHS:
        raise ConfigError(f"--codec {text}: there is no such type of values{there_are(text, list(WIDTHS))}")
    return text


def recoded(run: Run, rounds: Rounds, kind: str) -> Rounds:
    """The rounds with payloads of values of that type.

    Raises:
        RunFolderError: the records do not say how many values were sent.
    """
    if "accuracy" not in run.course.metrics:
        raise RunFolderError(
            "the width of its values is not in the records: a problem may compute in 64 bits"
        )

    def leg(way: str, recorded: Leg) -> Leg:
        count, width = _values(run, way, recorded)
        return replace(recorded, payload=recorded.payload + count * (WIDTHS[kind] - width))

    return replace(rounds, uplink=leg("uplink", rounds.uplink), downlink=leg("downlink", rounds.downlink))


def _values(run: Run, way: str, leg: Leg) -> tuple[Floats, int]:
    """How many values were sent in each round ``[R]``, and how wide they were."""
    messages = np.maximum(leg.messages, 1)
    if (leg.payload >= leg.dense).all() and (leg.payload - leg.dense <= _HEAD * messages).all():
        return leg.dense / _NATIVE, _NATIVE
    name, kind = run.config.get(way), run.config.get(f"{way}.values", "same")
    if name not in _SPARSE or kind not in {"same", *WIDTHS}:
        raise RunFolderError(f"{way}={name}: the records do not say how many values a message has")
    width = _NATIVE if kind == "same" else WIDTHS[kind]
    size = leg.dense / messages / _NATIVE
    share = run.config.get(f"{way}.fraction") or 0.0
    kept = run.config.get(f"{way}.k") or np.maximum(1, np.floor(share * size + 0.5))
    count = np.asarray(kept * leg.messages, dtype=np.float64)
    places = leg.payload - width * count
    # A place takes less than five bytes; more means that something else was in the message.
    if (places < 0).any() or (places > 5 * count + _HEAD * messages).any():
        raise RunFolderError(f"{way}: its messages hold more than the values that were chosen")
    return count, width
