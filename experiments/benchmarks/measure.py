"""Runs one program and watches its whole process tree: wall time, CPU time, memory. Linux only.

Rounds that are timed are left alone: CPU time is read before and after them, and memory is looked at in the rounds that
follow, which do the same work.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from experiments.benchmarks.processes import bury, cpu_seconds, pss

__all__ = ["Failed", "Measured", "measure"]


class Failed(Exception):
    """A program ended badly; says how."""


@dataclass(frozen=True)
class Measured:
    """One run of one program.

    Attributes:
        start_s: seconds from the command to the beginning of the first round.
        first_s: seconds of the first round.
        round_s: median of the timed rounds in seconds.
        cpu_s: CPU seconds of the whole tree for one of them, a mean.
        cores: CPU seconds over wall seconds of all of them together.
        pss: the most bytes that the tree held, memory that processes share counted once.
        up_bytes: bytes that the clients of a round sent, where the program counts them.
    """

    start_s: float
    first_s: float
    round_s: float
    cpu_s: float
    cores: float
    pss: int
    up_bytes: int | None = None


def measure(
    command: Sequence[str], environment: dict[str, str], timed: int, limit: float = 1800.0
) -> Measured:
    """Runs ``command`` and measures the ``timed`` rounds after its first one.

    Args:
        command: a program that prints marks (see ``rivals/work.py``) of at least two rounds more than ``timed``.
        environment: its variables.
        timed: rounds to time.
        limit: seconds after which it is ended.

    Raises:
        Failed: it did not get that far.
    """
    with tempfile.TemporaryFile() as errors:
        began = time.monotonic()
        running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        clock = threading.Timer(limit, running.kill)
        clock.start()
        watch = _Watch(timed, began)
        try:
            assert running.stdout is not None
            for line in running.stdout:
                if line.startswith('{"mark"'):
                    watch.mark(json.loads(line))
            status = running.wait()
        finally:
            clock.cancel()
            watch.close()
            bury()
        if status or not watch.complete:
            errors.seek(0)
            said = errors.read().decode(errors="replace")
            raise Failed(f"ended with status {status} after {watch.rounds} rounds: {_reason(said)}")
        return watch.result()


def _reason(said: str) -> str:
    """The last line that names an error, or the last of all."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (named or lines or ["it said nothing"])[-1]


@dataclass
class _Watch:
    """What the marks of one program say."""

    timed: int
    began: float
    started: float | None = None
    ends: list[float] = field(default_factory=list)
    used: list[dict[int, float]] = field(default_factory=list)
    up_bytes: int | None = None
    memory: _Memory | None = None

    @property
    def rounds(self) -> int:
        return len(self.ends)

    @property
    def complete(self) -> bool:
        return self.started is not None and len(self.used) == 2

    def mark(self, said: dict[str, Any]) -> None:
        if said["mark"] == "start":
            self.started = said["at"]
        elif said["mark"] == "bytes":
            self.up_bytes = said["up"]
        else:
            self.ends.append(said["at"])
            if self.rounds in (1, 1 + self.timed):
                self.used.append(cpu_seconds())
            if self.rounds == 1 + self.timed:
                self.memory = _Memory()

    def close(self) -> None:
        if self.memory:
            self.memory.close()

    def result(self) -> Measured:
        assert self.started is not None
        assert self.memory is not None
        ends = self.ends[: 1 + self.timed]
        before, after = self.used
        cpu = sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
        return Measured(
            start_s=self.started - self.began,
            first_s=ends[0] - self.started,
            round_s=statistics.median(b - a for a, b in pairwise(ends)),
            cpu_s=cpu / self.timed,
            cores=cpu / (ends[-1] - ends[0]),
            pss=self.memory.most,
            up_bytes=self.up_bytes,
        )


class _Memory:
    """Looks at the memory of the tree again and again until it is closed."""

    def __init__(self, every: float = 0.02) -> None:
        self.most = pss()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(every,))
        self._thread.start()

    def _look(self, every: float) -> None:
        while not self._over.wait(every):
            self.most = max(self.most, pss())

    def close(self) -> None:
        self._over.set()
        self._thread.join()
