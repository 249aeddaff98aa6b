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

_FEW, _MANY = 6, 60
"""Rounds of a trial; many where some exchanges are left to chance."""

_SLACK = 0.25
"""Vectors a round by which a count may differ: coins and other short numbers are not declared."""

_CAUGHT_UP = 2
"""From this round on, clients that hold what they heard are sent no more than what is new."""


@dataclass(frozen=True)
class _Counted:
    """What one client and the server sent each other in a round, in vectors of d numbers.

    Attributes:
        messages: that the client sent.
        up: what it sent, if nothing were compressed.
        up_bytes: what it sent as it was, in units of an uncompressed vector.
        down: what it was sent, if nothing were compressed.
        down_bytes: what it was sent as it was.
    """

    messages: float
    up: float
    up_bytes: float
    down: float
    down_bytes: float

    def fits(self, declared: _Counted, number: int) -> bool:
        """Whether what was counted in a round is what is declared, but for short numbers.

        A compressor of the strategy's own, whose ratio is not known (NaN), must save something.
        """
        pairs = [(getattr(self, f.name), getattr(declared, f.name), f.name) for f in fields(self)]
        return all(
            abs(found - said) < _SLACK if not math.isnan(said) else found < getattr(self, name[:-6]) - _SLACK
            for found, said, name in pairs
            if number >= _CAUGHT_UP or name != "down_bytes"
        )

    def __str__(self) -> str:
        return (
            f"{self.up:.3g} vectors up in {self.messages:.3g} messages ({self.up_bytes:.2g} in bytes) and "
            f"{self.down:.3g} down ({self.down_bytes:.2g} in bytes)"
        )


@dataclass(frozen=True)
class _Ratios:
    """Bytes of a compressed vector over those of an uncompressed one; NaN where the compressor is not known."""

    up: float
    down: float

    def sum(self, exchanges: Sequence[Vectors]) -> _Counted:
        """What exchanges that all take place come to."""

        def bytes_of(dense: int, compressed: int, ratio: float) -> float:
            return dense + ratio * compressed if compressed else dense

        return _Counted(
            len(exchanges),
            sum(e.up + e.up_compressed for e in exchanges),
            sum(bytes_of(e.up, e.up_compressed, self.up) for e in exchanges),
            sum(e.down + e.down_compressed for e in exchanges),
            sum(bytes_of(e.down, e.down_compressed, self.down) for e in exchanges),
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
    ratios = _Ratios(_ratio(trial, "uplink", size), _ratio(trial, "downlink", size))
    rounds = _MANY if any(0 < v.probability < 1 for v in declared) else _FEW
    setting = Setting(rounds=rounds, cohort=problem.clients, block=problem.clients)
    times: Counter[Vectors] = Counter()
    usual = 0
    with opened(trial, problem, setting) as session:
        for number in range(rounds):
            found = _counted(session.engine.round(number), problem.clients, size)
            times.update(_explained(found, declared, ratios, number))
            usual += not _only_in(declared, number)
    _require_frequencies(declared, times, usual)
    return passed(
        "communication", f"{found.up:.3g} vectors up and {found.down:.3g} down in the last of {rounds} rounds"
    )


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


def _ratio(strategy: Strategy, direction: str, size: int) -> float:
    """Bytes of a vector through the strategy's compressor over those without; NaN where it has none to set."""
    compressor = getattr(strategy, direction, None)
    if not isinstance(compressor, Compressor):
        return math.nan
    vector = _Draws().rng("vector").normal(size, torch.float64)
    return int(compressor.compress(vector, _Draws()).nbytes()[0]) / (size * vector.dtype.itemsize)


def _counted(record: Record, clients: int, size: int) -> _Counted:
    counts, vector = record.traffic, clients * size * torch.float64.itemsize
    return _Counted(
        counts["up_messages"] / clients,
        counts["up_dense_bytes"] / vector,
        counts["up_payload_bytes"] / vector,
        counts["down_dense_bytes"] / vector,
        counts["down_payload_bytes"] / vector,
    )


def _only_in(declared: Sequence[Vectors], number: int) -> list[Vectors]:
    """The exchanges of this round alone."""
    return [e for e in declared if e.round == number]


def _explained(
    found: _Counted, declared: Sequence[Vectors], ratios: _Ratios, number: int
) -> tuple[Vectors, ...]:
    """Which of the exchanges that are left to chance took place in a round.

    Raises:
        ConformanceError: no choice of them gives what was counted.
    """
    usual = [e for e in declared if e.round is None]
    sure = _only_in(declared, number) or [e for e in usual if e.probability == 1]
    chance = [] if _only_in(declared, number) else [e for e in usual if 0 < e.probability < 1]
    choices = [some for n in range(len(chance) + 1) for some in combinations(chance, n)]
    for some in choices:
        if found.fits(ratios.sum([*sure, *some]), number):
            return some
    said = ", or ".join(str(ratios.sum([*sure, *some])) for some in choices if sure or some)
    raise ConformanceError(f"round {number} has {found} for each client, but it declares {said}")


def _require_frequencies(declared: Sequence[Vectors], times: Counter[Vectors], rounds: int) -> None:
    """Refuses a probability that is more than four standard deviations from what was counted.

    Raises:
        ConformanceError: names the exchange.
    """
    for exchange in declared:
        p = exchange.probability
        if exchange.round is not None or not 0 < p < 1:
            continue
        if abs(times[exchange] - rounds * p) > 4 * math.sqrt(rounds * p * (1 - p)) + 1:
            raise ConformanceError(
                f"{exchange} took place in {times[exchange]} of {rounds} rounds, but it declares a probability of {p:g}"
            )
