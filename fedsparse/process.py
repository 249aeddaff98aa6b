"""Which process is which: ids are reused, an id together with its start time is not (Linux)."""

from __future__ import annotations

import ctypes
import signal
from pathlib import Path

__all__ = ["alive", "die_with_parent", "namespace", "start_time"]

_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux."""


def start_time(pid: int) -> int | None:
    """When process ``pid`` started, in clock ticks since boot; None when there is no such process.

    A zombie counts as gone: it holds no memory and no files.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses, which may contain anything.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def alive(pid: int, start: int) -> bool:
    """Whether the process that had id ``pid`` and start time ``start`` still runs."""
    return start_time(pid) == start


def die_with_parent() -> None:
    """Linux kills this process when the one that started it ends, even by SIGKILL."""
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)


def namespace() -> int:
    """Which set of process ids this process sees; containers that share a folder need not share their ids."""
    return Path("/proc/self/ns/pid").stat().st_ino
