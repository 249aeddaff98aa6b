"""What a run came to: its best and last metrics, and what it took to reach a target."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedsparse.ledger import ratio, sent_bytes
from fedsparse.records import Record, lower_is_better

__all__ = ["Mark", "Summary", "headline", "summarise"]

_FIRST = ("accuracy", "distance", "operator_norm")


@dataclass(frozen=True)
class Mark:
    """What it took to reach a target.

    Attributes:
        rounds: rounds that were needed.
        virtual_s: virtual seconds.
        up_bytes: bytes from the clients, payload and header.
        down_bytes: bytes to the clients.
    """

    rounds: int
    virtual_s: float
    up_bytes: int
    down_bytes: int


@dataclass(frozen=True)
class Summary:
    """A whole run; ``summary.json``.

    Attributes:
        rounds: how many there were.
        virtual_s: virtual seconds.
        up_bytes: bytes from the clients, payload and header.
        down_bytes: bytes to the clients.
        ratio: bytes without compression over bytes sent, both ways.
        traffic: the ledger's counters.
        gradient_calls: gradients of single clients.
        examples: training examples that went into them.
        final: each metric when it was last evaluated.
        best: the best finite value of each metric.
        metric: the metric that the target is about; ``None`` where nothing was evaluated.
        target: the value to reach; ``None`` where none was set.
        reached: what it took; ``None`` where it was not reached.
        wall_s: seconds on this machine.
        scalars: mean and largest value over the rounds of each number that the strategy records.
        tuning: how the values were chosen, see :class:`fedsparse.tuning.Tuned`; ``None`` where they were not tuned.
    """

    rounds: int
    virtual_s: float
    up_bytes: int
    down_bytes: int
    ratio: float
    traffic: Mapping[str, int]
    gradient_calls: int
    examples: int
    final: Mapping[str, float]
    best: Mapping[str, float]
    metric: str | None
    target: float | None
    reached: Mark | None
    wall_s: float
    scalars: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    tuning: Mapping[str, Any] | None = None


def headline(metrics: Iterable[str]) -> str | None:
    """The metric to show where there is room for one: accuracy, distance or operator norm, else the first by name."""

    def rank(name: str) -> tuple[int, bool, str]:
        return _FIRST.index(name) if name in _FIRST else len(_FIRST), "accuracy" not in name, name

    return min(metrics, key=rank, default=None)


def summarise(records: Sequence[Record], target: float | None = None, metric: str | None = None) -> Summary:
    """The summary of a run.

    Args:
        records: all its rounds, in order.
        target: value of ``metric`` to reach.
        metric: by default the :func:`headline` of all metrics.
    """
    names = sorted({name for record in records for name in record.metrics})
    metric = metric or headline(names)
    courses = {name: [r.metrics[name] for r in records if name in r.metrics] for name in names}
    traffic = records[-1].traffic_total if records else {}
    return Summary(
        rounds=len(records),
        virtual_s=records[-1].virtual_s if records else 0.0,
        up_bytes=sent_bytes(traffic, "up"),
        down_bytes=sent_bytes(traffic, "down"),
        ratio=ratio(traffic),
        traffic=traffic,
        gradient_calls=sum(record.gradient_calls for record in records),
        examples=sum(record.examples for record in records),
        final={name: course[-1] for name, course in courses.items()},
        best={name: _best(name, course) for name, course in courses.items()},
        metric=metric,
        target=target,
        reached=None if metric is None or target is None else _reached(records, metric, target),
        wall_s=math.fsum(record.wall_s for record in records),
        scalars={
            name: _over_rounds(records, name) for name in sorted({n for r in records for n in r.scalars})
        },
    )


def _over_rounds(records: Sequence[Record], name: str) -> dict[str, float]:
    """Mean and largest value of a recorded number over the rounds that have it."""
    values = [record.scalars[name] for record in records if name in record.scalars]
    return {"mean": math.fsum(values) / len(values), "max": max(values)}


def _best(metric: str, course: list[float]) -> float:
    choose = min if lower_is_better(metric) else max
    return choose((value for value in course if math.isfinite(value)), default=math.nan)


def _reached(records: Sequence[Record], metric: str, target: float) -> Mark | None:
    sign = -1 if lower_is_better(metric) else 1
    for count, record in enumerate(records, start=1):
        # A comparison with NaN is false: a metric that was not evaluated reaches nothing.
        if sign * record.metrics.get(metric, math.nan) >= sign * target:
            return Mark(count, record.virtual_s, record.up_bytes, record.down_bytes)
    return None
