"""The runs of an experiment: what is not done yet is done, one after the other or side by side."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedsparse.config import RunConfig
from fedsparse.errors import Diverged, Interrupted

__all__ = ["HERE", "Work", "carried_out", "cores", "seconds_in"]

HERE = ("engine=local", "engine.workers=1", "quiet=true")
"""Where all runs take place; results do not depend on it."""

_DIVERGED = "diverged"
_SECONDS = "processor_seconds"


@dataclass(frozen=True)
class Work:
    """A run that is to be there.

    Attributes:
        label: what it is called while it runs.
        path: its folder.
        config: what it is.
        tuning: how its values were chosen, see :class:`fedsparse.tuning.Tuned`.
    """

    label: str
    path: Path
    config: RunConfig
    tuning: Mapping[str, Any] | None = None

    @property
    def diverged(self) -> bool:
        """Whether it ended because a model was no longer finite."""
        return (self.path / _DIVERGED).exists()

    def line(self, number: int, of: int) -> str:
        """What is said when it is done, as the one of this number."""
        return f"[{number}/{of}] {self.label}" + (": diverged" if self.diverged else "")

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do.

        Raises:
            RunFolderError: the folder has a run of another configuration.
        """
        from fedsparse.runfolder import read_summary
        from fedsparse.tuning.tuner import check_same

        if not (self.path / "config.yaml").exists():
            return False
        check_same(self.path, self.config)
        return self.diverged or read_summary(self.path) is not None

    def do(self) -> None:
        """Begins the run, or goes on with it.

        Raises:
            FedSparseError: it failed, other than by diverging.
        """
        from fedsparse import config as configuration
        from fedsparse.recorded import run

        begun = (self.path / "config.yaml").exists()
        config = configuration.parse([*HERE, f"resume={self.path}"]) if begun else self.config
        before = time.process_time()
        try:
            run(config, tuning=self.tuning)
        except Diverged as error:
            (self.path / _DIVERGED).write_text(f"{error}\n", encoding="utf-8")
        finally:
            if self.path.exists():
                with (self.path / _SECONDS).open("a", encoding="utf-8") as file:
                    file.write(f"{time.process_time() - before:.3f}\n")


def carried_out(works: Sequence[Work], jobs: int, note: Callable[[str], None]) -> None:
    """Does what is not done, up to ``jobs`` runs at a time.

    Args:
        works: the runs.
        jobs: processes; with one, this process does it all.
        note: is told what is done.

    Raises:
        Interrupted: a signal stopped it after whole rounds.
        FedSparseError: one failed; the others were stopped.
    """
    from fedsparse.experiment.crew import Crew

    missing = [work for work in works if not work.done]
    if len(works) > len(missing):
        note(f"{len(works) - len(missing)} of {len(works)} runs are there")
    if jobs == 1 or len(missing) < 2:
        _one_by_one(missing, note)
    else:
        Crew(missing, jobs, note).go()


def _one_by_one(works: Sequence[Work], note: Callable[[str], None]) -> None:
    for number, work in enumerate(works, start=1):
        try:
            work.do()
        except Interrupted as error:
            raise Interrupted(
                f"{work.label}: {str(error).partition(';')[0]}; the same command goes on"
            ) from None
        note(work.line(number, len(works)))


def seconds_in(folder: Path) -> float:
    """Processor time of the run in a folder, in seconds; a piece of it that was killed does not count."""
    path = folder / _SECONDS
    return math.fsum(map(float, path.read_text(encoding="utf-8").split())) if path.exists() else 0.0


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))
