"""What a run has to show: a metric against the bytes that clients sent. A run that is finished is only read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedsparse import config as configuration
from fedsparse import recorded
from fedsparse.errors import Diverged
from fedsparse.records import Record
from fedsparse.runfolder import read_rounds, read_summary
from fedsparse.tuning.tuner import check_same
from fedsparse.workers import Workers

__all__ = ["HERE", "Curve", "course"]

HERE = ("engine=local", "engine.workers=1", "quiet=true")
"""Where all runs take place; results do not depend on it."""


@dataclass(frozen=True)
class Curve:
    """A method's way.

    Attributes:
        label: what pictures and tables call it.
        rounds: after which it was evaluated, from 1 ``[n]``.
        up: bytes that all clients together have sent until then ``[n]``.
        low: smallest value of the metric over seeds ``[n]``.
        value: the mean.
        high: the largest.
        diverged: it ended because the model was no longer finite.
    """

    label: str
    rounds: np.ndarray
    up: np.ndarray
    low: np.ndarray
    value: np.ndarray
    high: np.ndarray
    diverged: bool = False

    @classmethod
    def of(cls, label: str, runs: Sequence[Sequence[Record]], metric: str, less: float = 0.0) -> Curve:
        """The curve of runs that differ in nothing but the seed, with ``less`` taken from the metric."""
        seen = [[record for record in records if metric in record.metrics] for records in runs]
        values = np.array([[record.metrics[metric] - less for record in records] for records in seen])
        up = np.array([[record.up_bytes for record in records] for records in seen]).mean(0)
        rounds = np.array([record.round + 1 for record in seen[0]])
        return cls(label, rounds, up, values.min(0), values.mean(0), values.max(0))

    @property
    def end(self) -> float:
        """The mean at the end; infinite where it diverged."""
        return math.inf if self.diverged else float(self.value[-1])

    def bytes_to(self, target: float) -> float | None:
        """Bytes until every seed has been at ``target`` or below at once; ``None`` where that never was."""
        reached = np.flatnonzero(self.high <= target)
        return float(self.up[reached[0]]) if len(reached) else None

    def thinned(self, points: int) -> Iterator[int]:
        """At most so many positions, evenly spread on a logarithmic scale of rounds."""
        wanted = np.geomspace(self.rounds[0], self.rounds[-1], points)
        places = np.minimum(np.searchsorted(self.rounds, wanted), len(self.rounds) - 1)
        yield from sorted({0, *places.tolist(), len(self.rounds) - 1})


def course(
    path: Path,
    words: Sequence[str],
    workers: Workers,
    tuning: Mapping[str, Any] | None = None,
    here: Sequence[str] = HERE,
) -> tuple[list[Record], bool]:
    """The rounds of a run, which is begun, gone on with, or only read; and whether it diverged.

    Args:
        path: its folder.
        words: its configuration, as for ``python -m fedsparse.run``.
        workers: stay open from one run to the next.
        tuning: how its values were chosen.
        here: where it takes place; results do not depend on it.

    Raises:
        RunFolderError: the folder has a run of another configuration.
    """
    config = configuration.parse([*words, *here, f"runs={path.parent}", f"name={path.name}"])
    begun = (path / "config.yaml").exists()
    if begun:
        check_same(path, config)
    diverged = False
    if not begun or read_summary(path) is None:
        asked = configuration.parse([f"resume={path}", *here]) if begun else config
        try:
            recorded.run(asked, workers=workers, tuning=tuning)
        except Diverged:
            diverged = True
    return [Record.of(values) for values in read_rounds(path)], diverged
