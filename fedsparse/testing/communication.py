"""The check of what a strategy says that it sends: counted by the ledger."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations

import torch

from fedsparse.compress import Compressor, Identity, RandK, TopK
from fedsparse.protocol import Strategy, Vectors
from fedsparse.records import Record
from fedsparse.rng import Streams
from fedsparse.testing.report import ConformanceError, Finding, passed, skipped
from fedsparse.testing.theory import toy
from fedsparse.testing.trial import Setting, opened

__all__ = ["check_communication"]

_FEW, _MANY = 4, 60
"""Rounds of a trial; many where some exchanges are left to chance."""

_SLACK = 0.25
"""Vectors a round by which a count may differ: coins and other short numbers are not declared."""


@dataclass(frozen=True)
class _Counted:
    """What one client and the server sent each other in a round, in vectors of d numbers.

    Attributes:
        messages: that the client sent.
        down: what it was sent, if nothing were compressed.
        up: what it sent, likewise.
        up_bytes: what it sent as it was, in units of an uncompressed vector.
    """

    messages: float
    down: float
    up: float
    up_bytes: float

    def fits(self, other: _Counted) -> bool:
        """Whether the two are the same but for short numbers."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return all(abs(a - b) < _SLACK for a, b in pairs)

    def __str__(self) -> str:
        return (
            f"{self.up:.3g} vectors up in {self.messages:.3g} messages ({self.up_bytes:.2g} in bytes) and "
            f"{self.down:.3g} down"
        )


def check_communication(strategy: Strategy) -> Finding:
    """In every round the ledger counts the declared messages and vectors, and synchronisations as often as declared.

    Where the strategy has an ``uplink`` that compresses nothing, the trial gives it one that does.

    Raises:
        ConformanceError: says in which round what was counted, and what is declared.
    """
    trial, problem = _compressing(strategy), toy("quadratic")
    size = len(problem.start)
    declared = trial.communication(size)
    if not declared:
        return skipped("communication", "not declared")
    ratio = _ratio(trial, size)
    rounds = _MANY if any(0 < v.probability < 1 for v in declared) else _FEW
    setting = Setting(rounds=rounds, cohort=problem.clients, block=problem.clients)
    times: Counter[int] = Counter()
    with opened(trial, problem, setting) as session:
        for number in range(rounds):
            found = _counted(session.server.round(number), problem.clients, size)
            took_place = _explained(found, declared, ratio, number)
            times.update(took_place if number else ())
    _require_frequencies(declared, times, rounds - 1)
    return passed("communication", f"{_sum(declared, ratio)}, as declared, in {rounds} rounds")


def _compressing(strategy: Strategy) -> Strategy:
    """The strategy in its first trial's settings, with an uplink whose effect is seen in the bytes."""
    theories = strategy.theories()
    trial = replace(strategy, **theories[0].settings) if theories else strategy
    if isinstance(getattr(trial, "uplink", None), Identity):
        seen: dict[str, Compressor] = {
            "uplink": TopK(0.1) if trial.uplink_class == "contractive" else RandK(0.1)
        }
        return replace(trial, **seen)
    return trial


@dataclass(frozen=True)
class _Draws:
    """Streams of a trial."""

    def rng(self, purpose: str) -> Streams:
        return Streams(0, f"trial:{purpose}", 0, [0])


def _ratio(strategy: Strategy, size: int) -> float:
    """Bytes of a compressed vector over those of an uncompressed one."""
    uplink = getattr(strategy, "uplink", None)
    if not isinstance(uplink, Compressor):
        return 1.0
    vector = _Draws().rng("vector").normal(size, torch.float64)
    return int(uplink.compress(vector, _Draws()).nbytes()[0]) / (size * vector.dtype.itemsize)


def _counted(record: Record, clients: int, size: int) -> _Counted:
    counts, vector = record.traffic, clients * size * torch.float64.itemsize
    return _Counted(
        counts["up_messages"] / clients,
        counts["down_dense_bytes"] / vector,
        counts["up_dense_bytes"] / vector,
        counts["up_payload_bytes"] / vector,
    )


def _sum(exchanges: Sequence[Vectors], ratio: float) -> _Counted:
    """What the exchanges come to on average."""

    def total(values: Sequence[float]) -> float:
        return sum(v * e.probability for v, e in zip(values, exchanges, strict=True) if not e.first)

    return _Counted(
        total([1.0] * len(exchanges)),
        total([e.down + e.down_compressed for e in exchanges]),
        total([e.up + e.up_compressed for e in exchanges]),
        total([e.up + ratio * e.up_compressed for e in exchanges]),
    )


def _explained(found: _Counted, declared: Sequence[Vectors], ratio: float, number: int) -> tuple[int, ...]:
    """Which of the declared exchanges took place in a round, by their positions.

    Raises:
        ConformanceError: no choice of them gives what was counted.
    """
    sure = tuple(k for k, e in enumerate(declared) if (number == 0 if e.first else e.probability == 1))
    open_ = [k for k, e in enumerate(declared) if not e.first and 0 < e.probability < 1]
    for some in (c for n in range(len(open_) + 1) for c in combinations(open_, n)):
        chosen = [replace(declared[k], probability=1.0, first=False) for k in (*sure, *some)]
        if found.fits(_sum(chosen, ratio)):
            return some
    usual = _sum([replace(declared[k], probability=1.0, first=False) for k in sure], ratio)
    more = ", and sometimes more; no choice of that fits" if open_ else ""
    raise ConformanceError(f"round {number} has {found} for each client, but it declares {usual}{more}")


def _require_frequencies(declared: Sequence[Vectors], times: Counter[int], rounds: int) -> None:
    """Refuses a probability that is more than four standard deviations from what was counted.

    Raises:
        ConformanceError: names the exchange.
    """
    for k, exchange in enumerate(declared):
        p = exchange.probability
        if exchange.first or not 0 < p < 1:
            continue
        if abs(times[k] - rounds * p) > 4 * math.sqrt(rounds * p * (1 - p)) + 1:
            raise ConformanceError(
                f"{exchange} took place in {times[k]} of {rounds} rounds, but it declares a probability of {p:g}"
            )
