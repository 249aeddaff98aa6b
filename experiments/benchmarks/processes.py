"""The processes below this one: their CPU time, their memory, their end. Linux only."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["adopt_orphans", "bury", "cpu_seconds", "pss"]

_SUBREAPER = 36
"""``PR_SET_CHILD_SUBREAPER`` of ``linux/prctl.h``."""


def adopt_orphans() -> None:
    """Makes processes whose parent ended children of this one, so that none is lost."""
    ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)


def cpu_seconds() -> dict[int, float]:
    """CPU seconds of each process so far, all its threads together."""
    used = {}
    for pid in _family():
        with suppress(OSError):  # it has just ended
            used[pid] = time.clock_gettime((~pid << 3) | 2)  # the clock that clock_getcpuclockid(3) names
    return used


def pss() -> int:
    """Bytes of memory of all together: what n processes share counts 1/n for each."""
    lines = (line for pid in _family() for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


def bury(grace: float = 10.0) -> None:
    """Waits ``grace`` seconds until all are gone, and ends those that stay."""
    until = time.monotonic() + grace
    while alive := _reaped():
        if time.monotonic() > until:
            for pid in alive:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _reaped() -> list[int]:
    """Takes note of the dead; returns who is left."""
    for pid in _family():
        with suppress(ChildProcessError):  # somebody else's child
            os.waitpid(pid, os.WNOHANG)
    return _family()


def _family() -> list[int]:
    """All processes below this one."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _read(entry / "stat").rpartition(")")[2].split()
            if fields:
                parents[int(entry.name)] = int(fields[1])
    found = [os.getpid()]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""  # it has just ended
