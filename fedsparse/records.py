"""What is written down about a round, as JSON can hold it; the file is that of :mod:`fedsparse.runfolder`.

JSON has no NaN and no infinity: both are written as ``null``, and ``null`` is read as NaN. All other floats
come back with the same bits. Keys have one order, so equal runs give equal files but for the wall times.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from fedsparse.errors import RunFolderError
from fedsparse.ledger import sent_bytes

__all__ = ["Record", "lower_is_better", "plain", "without_wall"]

_MINIMISED = frozenset(
    {"consensus", "distance", "error", "gap", "loss", "norm", "perplexity", "residual", "spread", "std"}
)


@dataclass(frozen=True)
class Record:
    """One round; one line of ``rounds.jsonl``.

    Attributes:
        round: from 0.
        virtual_s: virtual seconds from the start of the run to the end of the round.
        cohort: clients asked: those drawn, or everybody where a phase is for all; each is accepted, lost, late,
            absent or rejected.
        accepted: clients whose message was used.
        lost: clients whose message, or the one to them, did not arrive.
        late: clients whose message came after the end of the round.
        absent: clients that were away.
        rejected: clients whose message was refused, by reason.
        skipped: too few messages came: the server's state is what it was.
        traffic: the ledger's counters of this round.
        traffic_total: the ledger's counters since the start.
        gradient_calls: gradients of single clients computed in this round.
        examples: training examples that went into them.
        train_loss: mean over the accepted clients, NaN where there is none.
        metrics: what was evaluated after the round, by name; empty where nothing was.
        scalars: means of the numbers that the strategy records.
        wall_s: seconds the round took on this machine.
        flower: on devices, what was on the way in Flower's own form, by name: messages, and what its objects
            serialise to. It and ``wall_s`` are the only values that differ between equal runs.
    """

    round: int
    virtual_s: float
    cohort: int
    accepted: int
    lost: int = 0
    late: int = 0
    absent: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    skipped: bool = False
    traffic: Mapping[str, int] = field(default_factory=dict)
    traffic_total: Mapping[str, int] = field(default_factory=dict)
    gradient_calls: int = 0
    examples: int = 0
    train_loss: float = math.nan
    metrics: Mapping[str, float] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    wall_s: float = 0.0
    flower: Mapping[str, int] = field(default_factory=dict)

    @property
    def up_bytes(self) -> int:
        """Bytes from the clients since the start, payload and header."""
        return sent_bytes(self.traffic_total, "up")

    @property
    def down_bytes(self) -> int:
        """Bytes to the clients since the start, payload and header."""
        return sent_bytes(self.traffic_total, "down")

    @staticmethod
    def of(values: Mapping[str, Any]) -> Record:
        """The record that :func:`plain` made these values of.

        Raises:
            RunFolderError: they are not those of a record.
        """
        try:
            return Record(**_with_nan(values))
        except TypeError as error:
            raise RunFolderError(
                f"not the record of a round: {str(values)[:80]} ({error}). Start a new run."
            ) from error


def plain(thing: Any) -> dict[str, Any]:
    """A dataclass object as JSON holds it: Python's own numbers, ``None`` for NaN and infinity.

    Fields keep their order; mappings in them are sorted by key, as nobody promises the order of free names.
    """
    return {f.name: _clean(getattr(thing, f.name)) for f in fields(thing)}


def without_wall(record: Record) -> dict[str, Any]:
    """What is equal in equal runs: the values as JSON holds them, so that NaN (``None``) equals NaN."""
    values = plain(record)
    del values["wall_s"], values["flower"]
    return values


def lower_is_better(metric: str) -> bool:
    """Whether a metric is minimised: one word of its name is loss, error, distance, gap, norm or the like."""
    return not _MINIMISED.isdisjoint(re.split("[^a-z]+", metric.lower()))


def _clean(value: Any) -> Any:
    if type(value) is int:
        return value
    if isinstance(value, Mapping):
        return {str(key): _clean(entry) for key, entry in sorted(value.items())}
    if is_dataclass(value):
        return plain(value)
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _with_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    def read(value: Any) -> Any:
        return _with_nan(value) if isinstance(value, dict) else math.nan if value is None else value

    return {key: read(value) for key, value in values.items()}
