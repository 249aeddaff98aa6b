"""Where client states lie: in memory while there is plenty, otherwise on the run folder's disk."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from fedsparse.engine.rows import StateSpec
from fedsparse.files import free_bytes, make_folder, no_room
from fedsparse.process import alive, namespace, start_time

__all__ = ["choose_folder", "expected_bytes", "fits_memory", "remove_stale"]

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it, with a random name
_NAME = re.compile(r"fedsparse-state-(\d+)-(\d+)-(\d+)-.+")


def expected_bytes(specs: Iterable[StateSpec], population: int, cohort: int, rounds: int) -> int:
    """Bytes that a run's client states will use: a row for each client that takes part, and fresh ones."""
    slots = min(population, rounds * cohort) + 2 * cohort
    return slots * sum(spec.row_bytes for spec in specs)


def fits_memory(expected: int) -> bool:
    """Whether ``expected`` bytes of client states are under half of the memory that is available."""
    return expected < _available_memory() / 2


def choose_folder(requested: Path | None, expected: int, run_folder: Path) -> Path:
    """Make a folder for this process's slabs, after removing those that dead processes left behind.

    Args:
        requested: ``engine.state_dir``; None leaves the choice to the rule: shared memory if its free space
            exceeds 1.5 times ``expected`` and that is under half of the available memory, else the run's.
        expected: see :func:`expected_bytes`.
        run_folder: the run's folder, on a disk.

    Returns:
        A new empty folder that only this user can read.

    Raises:
        ResourceError: it cannot be made.
    """
    base = requested or (_SHARED_MEMORY if _fits_shared(expected) else run_folder)
    make_folder(base)
    for place in {base, run_folder, _SHARED_MEMORY}:
        remove_stale(place)
    pid = os.getpid()
    try:
        return Path(
            tempfile.mkdtemp(prefix=f"fedsparse-state-{namespace()}-{pid}-{start_time(pid)}-", dir=base)
        )
    except OSError as error:
        raise no_room(
            base, expected, error, "Set engine.state_dir to a folder that can be written to."
        ) from error


def remove_stale(base: Path) -> None:
    """Remove the slab folders of processes that are gone; of another set of process ids nothing is known."""
    for folder in base.glob("fedsparse-state-*"):
        match = _NAME.fullmatch(folder.name)
        if match and int(match[1]) == namespace() and not alive(int(match[2]), int(match[3])):
            shutil.rmtree(folder, ignore_errors=True)


def _fits_shared(expected: int) -> bool:
    room = free_bytes(_SHARED_MEMORY) if _SHARED_MEMORY.is_dir() else 0
    return room > 1.5 * expected and fits_memory(expected)


def _available_memory() -> int:
    """Bytes that the machine could give to programs now."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
