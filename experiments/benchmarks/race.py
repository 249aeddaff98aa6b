"""One workload, run by all its programs in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from experiments.benchmarks import environments, schedule
from experiments.benchmarks.measure import Failed, Measured, measure
from experiments.benchmarks.table import Row
from experiments.benchmarks.workloads import PROGRAMS, Program, Workload

__all__ = ["ROOT", "Race"]

ROOT = Path(__file__).resolve().parents[2]

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass
class Race:
    """All programs of one workload on the same work.

    Attributes:
        workload: what is run, by whom.
        folder: where the data set is and the work is written.
        envs: where the rivals' environments are.
        note: is told what is going on.
    """

    workload: Workload
    folder: Path
    envs: Path
    note: Callable[[str], None]
    _references: dict[int, np.ndarray] = field(default_factory=dict)

    def run(self, repeat: int) -> tuple[list[Row], list[tuple[float, float]]]:
        """The rows of the table, and the machine's peak rates in each repetition.

        The list of programs is gone through ``repeat`` times, each time from another place on.
        """
        self._work = schedule.write_work(self.folder, self.workload, self._rounds(1.0))
        rows = [Row(entry) for entry in self.workload.entries]
        interpreters = {row.entry.key: self._interpreter(row) for row in rows}
        peaks = []
        for repetition in range(repeat):
            peaks.append(self._peak())
            turn = repetition % len(rows)
            for row in rows[turn:] + rows[:turn]:
                python = interpreters[row.entry.key]
                row.runs.append(None if python is None else self._measured(row, python, repetition))
        return rows, peaks

    def _measured(self, row: Row, python: Path, repetition: int) -> Measured | None:
        self.note(f"{self.workload.name}, repetition {repetition + 1}: {row.entry.title}")
        program, final = PROGRAMS[row.entry.name], self.folder / "final.npy"
        rounds, told = self._rounds(program.pace), list(program.options)
        if program.module == "ours":
            clients = row.entry.clients or self.workload.clients
            told = [*schedule.command(self.folder, self.workload, clients), *told, *row.entry.overrides]
        try:
            result = measure(
                self._command(python, program, rounds, final, told),
                _environment(program),
                self._timed(program.pace),
            )
        except Failed as error:
            row.problem = f"in repetition {repetition + 1}: {error}"
            return None
        if row.entry.same and row.norm is None:
            row.norm, row.model = self._difference(np.load(final), rounds)
        return result

    def _timed(self, pace: float) -> int:
        """Timed rounds."""
        return max(2, round(self.workload.rounds * pace))

    def _rounds(self, pace: float) -> int:
        """All rounds: the first one, the timed ones, and those in which memory is looked at."""
        return 1 + self._timed(pace) + max(2, self._timed(pace) // 4)

    def _command(
        self, python: Path, program: Program, rounds: int, final: Path, told: list[str]
    ) -> list[str]:
        module = f"experiments.benchmarks.rivals.{program.module}"
        given = [str(self._work), "--rounds", str(rounds), "--final", str(final)]
        return [str(python), *program.launch, module, *given, *told]

    def _interpreter(self, row: Row) -> Path | None:
        home = PROGRAMS[row.entry.name].home
        if home is None:
            return Path(sys.executable)
        try:
            return environments.python_of(home, self.envs, self.note)
        except environments.Unavailable as error:
            row.problem = f"left out, its environment could not be made: {error}"
            return None

    def _difference(self, final: np.ndarray, rounds: int) -> tuple[float, float]:
        """Of the norm of a training's change, and of the change itself, to those of the plain loop; relative."""
        if rounds not in self._references:
            path, plain = self.folder / "reference.npy", PROGRAMS[self._plain]
            command = self._command(Path(sys.executable), plain, rounds, path, [])
            subprocess.run(command, env=_environment(plain), check=True, stdout=subprocess.DEVNULL)
            self._references[rounds] = np.load(path)
        with np.load(self._work) as held:
            start = np.concatenate([held[name].ravel() for name in held.files if name.startswith("start/")])
        ours, theirs = (model.astype(np.float64) - start for model in (final, self._references[rounds]))
        norm = float(np.linalg.norm(theirs))
        return abs(float(np.linalg.norm(ours)) / norm - 1), float(np.linalg.norm(ours - theirs)) / norm

    @property
    def _plain(self) -> str:
        """The loop that others are compared with, also where it was not asked for."""
        return "plain-gossip" if self.workload.name == "W3" else "plain"

    def _peak(self) -> tuple[float, float]:
        command = [sys.executable, "-m", "experiments.benchmarks.rivals.peak"]
        done = subprocess.run(
            command, env=_environment(PROGRAMS["plain"]), check=True, stdout=subprocess.PIPE
        )
        one, two = json.loads(done.stdout)
        return one, two


def _environment(program: Program) -> dict[str, str]:
    return {**os.environ, **_ONE_THREAD, **program.settings, "PYTHONPATH": str(ROOT)}
