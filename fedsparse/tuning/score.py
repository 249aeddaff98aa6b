"""How good a setting is, and which one is chosen."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from fedsparse.data.validation import VALIDATION
from fedsparse.errors import ConfigError
from fedsparse.records import Record, lower_is_better
from fedsparse.summary import headline, summarise
from fedsparse.words import there_are

__all__ = ["Outcome", "Trial", "choice", "metric_of", "scored"]

Outcome = Literal["finished", "diverged", "missed"]
"""``missed``: the target was not reached, or the metric is not finite."""


@dataclass(frozen=True)
class Trial:
    """One run of one setting.

    Attributes:
        run: its folder, in that of the tuning.
        seed: its seed.
        outcome: only what is ``finished`` has a score.
        score: the metric, or the bytes; NaN where it failed.
    """

    run: str
    seed: int
    outcome: Outcome
    score: float = math.nan


def metric_of(names: Collection[str], wanted: str | None) -> str:
    """The metric that is judged: of the validation part where there is one, else the problem's own.

    Args:
        names: what was evaluated.
        wanted: a name, or ``None`` for the :func:`~fedsparse.summary.headline`.

    Raises:
        ConfigError: there is no such metric, or none at all.
    """
    held_back = [name for name in names if name.startswith(VALIDATION)]
    usable = sorted(held_back or names)
    metric = wanted or headline(usable)
    if metric is None:
        raise ConfigError("nothing is evaluated, so nothing can be chosen; the problem needs an evaluate")
    if metric not in usable:
        raise ConfigError(f"metric={metric}: is not evaluated{there_are(metric, usable)}")
    return metric


def scored(
    records: Sequence[Record], select: str, metric: str, target: float | None
) -> tuple[Outcome, float]:
    """What became of a run, and its score.

    Args:
        records: all its rounds.
        select: ``"final"``, ``"best"`` or ``"bytes_to_target"``: bytes both ways until ``metric`` was ``target``.
        metric: what is judged.
        target: see ``select``.
    """
    summary = summarise(records, target, metric)
    if select == "bytes_to_target":
        mark = summary.reached
        score = math.nan if mark is None else float(mark.up_bytes + mark.down_bytes)
    else:
        score = (summary.final if select == "final" else summary.best)[metric]
    return ("finished", score) if math.isfinite(score) else ("missed", math.nan)


def choice(scores: Sequence[float], select: str, metric: str) -> int | None:
    """The position of the best score, the first of equal ones; ``None`` where all of them are NaN."""
    usable = [at for at, score in enumerate(scores) if math.isfinite(score)]
    sign = 1 if select == "bytes_to_target" or lower_is_better(metric) else -1
    return min(usable, key=lambda at: sign * scores[at], default=None)
