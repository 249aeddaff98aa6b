"""The check of what a strategy says that it sends: counted by the ledger."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations

import torch

from fedsparse.compress import Compressor, Identity, RandK, TopK
from fedsparse.engine.gossip.edges import Edges
from fedsparse.protocol import Strategy, Vectors
from fedsparse.records import Record
from fedsparse.rng import Streams
from fedsparse.testing.report import ConformanceError, Finding, passed, skipped
from fedsparse.testing.theory import toy
from fedsparse.testing.trial import Setting, matrices, opened

__all__ = ["check_communication"]

_FEW, _MANY = 6, 60
"""Rounds of a trial; many where some exchanges are left to chance."""

_SLACK = 0.25
"""Vectors a round by which a count may differ: coins and other short numbers are not declared."""

_CAUGHT_UP = 2
"""From this round on, clients that hold what they heard are sent no more than what is new."""


@dataclass(frozen=True)
class _Counted:
    """What a client sent and was sent in a round, in vectors of d numbers.

    Attributes:
        messages: that the client sent.
        up: what it sent, if nothing were compressed.
        up_bytes: what it sent as it was, in units of an uncompressed vector.
        down: what it was sent, if nothing were compressed.
        down_bytes: what it was sent as it was.
        radio_messages: that it sent, if all neighbours hear one transmission.
        radio: as ``up``, likewise.
        radio_bytes: as ``up_bytes``, likewise.
    """

    messages: float
    up: float
    up_bytes: float
    down: float
    down_bytes: float
    radio_messages: float
    radio: float
    radio_bytes: float

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
            + (
                f"{self.radio:.3g} by radio in {self.radio_messages:.3g} ({self.radio_bytes:.2g} in bytes)"
                if self.radio_messages
                else f"{self.down:.3g} down ({self.down_bytes:.2g} in bytes)"
            )
        )


@dataclass(frozen=True)
class _Scale:
    """What a declared vector counts.

    Attributes:
        up: bytes of a vector through ``uplink`` over those of an uncompressed one; NaN: not known.
        down: likewise of ``downlink``.
        links: along which a client sends in an exchange, on average; 1 to a server.
        reduced: how often a client sends a message's length in an all-reduce.
        radio: how often a client speaks in an exchange, if all neighbours hear it; 0 with a server.
    """

    up: float
    down: float
    links: float
    reduced: float
    radio: float

    def sum(self, exchanges: Sequence[Vectors]) -> _Counted:
        """What exchanges that all take place come to, for a client."""

        def whole(e: Vectors) -> float:
            return e.up + e.up_compressed

        def length(dense: float, compressed: float, ratio: float) -> float:
            return dense + ratio * compressed if compressed else dense

        links = [self.reduced if e.everyone else self.links for e in exchanges]
        radio = [self.reduced if e.everyone else self.radio for e in exchanges]
        lengths = [length(e.up, e.up_compressed, self.up) for e in exchanges]
        return _Counted(
            messages=sum(1 if e.everyone else self.links for e in exchanges),
            up=sum(k * whole(e) for k, e in zip(links, exchanges, strict=True)),
            up_bytes=sum(k * n for k, n in zip(links, lengths, strict=True)),
            down=sum(e.down + e.down_compressed for e in exchanges),
            down_bytes=sum(length(e.down, e.down_compressed, self.down) for e in exchanges),
            radio_messages=sum(1 if e.everyone else self.radio for e in exchanges),
            radio=sum(k * whole(e) for k, e in zip(radio, exchanges, strict=True)),
            radio_bytes=sum(k * n for k, n in zip(radio, lengths, strict=True) if k),
        )


def check_communication(strategy: Strategy) -> Finding:
    """In every round the ledger counts the declared messages and vectors, and synchronisations as often as declared.

    Without a server it counts them twice: along each link, and once for all neighbours that hear a transmission.
    Where the strategy has an ``uplink`` that compresses nothing and is used, the trial gives it one that does.

    Raises:
        ConformanceError: says in which round what was counted, and what is declared.
    """
    problem = toy("quadratic")
    size = len(problem.start)
    trial = _compressing(strategy, size)
    declared = trial.communication(size)
    if not declared:
        return skipped("communication", "not declared")
    rounds = _MANY if any(0 < v.probability < 1 for v in declared) else _FEW
    setting = Setting(rounds=rounds, cohort=problem.clients, block=problem.clients)
    scale = _scale(trial, problem.clients, size, setting)
    times: Counter[Vectors] = Counter()
    usual = 0
    with opened(trial, problem, setting) as session:
        for number in range(rounds):
            found = _counted(session.engine.round(number), problem.clients, size)
            sure = _only_in(declared, number, rounds)
            times.update(_explained(found, declared, sure, scale, number))
            usual += not sure
    _require_frequencies(declared, times, usual)
    sent = f"{found.radio:.3g} by radio" if scale.radio else f"{found.down:.3g} down"
    return passed("communication", f"{found.up:.3g} vectors up and {sent} in the last of {rounds} rounds")


def _scale(trial: Strategy, clients: int, size: int, setting: Setting) -> _Scale:
    graph = matrices(trial, clients, setting)
    return _Scale(
        _ratio(trial, "uplink", size),
        _ratio(trial, "downlink", size),
        links=1.0 if graph is None else len(Edges.of(graph.weights(0))) / clients,
        reduced=2 * (clients - 1) / clients,
        radio=0.0 if graph is None else 1.0,
    )


def _compressing(strategy: Strategy, size: int) -> Strategy:
    """The strategy in its first trial's settings, with an uplink whose effect is seen in the bytes."""
    theories = strategy.theories()
    trial = replace(strategy, **theories[0].settings) if theories else strategy
    used = any(vectors.up_compressed for vectors in trial.communication(size))
    if used and isinstance(getattr(trial, "uplink", None), Identity):
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
        counts.get("radio_messages", 0) / clients,
        counts.get("radio_dense_bytes", 0) / vector,
        counts.get("radio_payload_bytes", 0) / vector,
    )


def _only_in(declared: Sequence[Vectors], number: int, rounds: int) -> list[Vectors]:
    """The exchanges of this round alone."""
    return [e for e in declared if e.round in {number, number - rounds}]


def _explained(
    found: _Counted, declared: Sequence[Vectors], only: Sequence[Vectors], scale: _Scale, number: int
) -> tuple[Vectors, ...]:
    """Which of the exchanges that are left to chance took place in a round.

    Args:
        found: what was counted.
        declared: all exchanges.
        only: those of this round alone.
        scale: what a declared vector counts.
        number: of the round.

    Raises:
        ConformanceError: no choice of them gives what was counted.
    """
    usual = [] if only else [e for e in declared if e.round is None]
    sure = [*only, *(e for e in usual if e.probability == 1)]
    chance = [e for e in usual if 0 < e.probability < 1]
    choices = [some for n in range(len(chance) + 1) for some in combinations(chance, n)]
    for some in choices:
        if found.fits(scale.sum([*sure, *some]), number):
            return some
    said = ", or ".join(str(scale.sum([*sure, *some])) for some in choices if sure or some) or "nothing"
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
