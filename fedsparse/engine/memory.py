"""Keeping the memory that a round gives back: the next round wants just as much of it."""

from __future__ import annotations

import ctypes
from functools import cache

__all__ = ["give_back_memory", "keep_memory"]

# Numbers of glibc's <malloc.h>.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3

_SETTINGS = {
    # Arrays up to this size are kept. Of larger ones the heap may hold several for each that is in use, as what
    # alignment cuts off keeps free neighbours apart.
    _MMAP_THRESHOLD: 64 << 20,
    # Only what lies free beyond this, at the end of the heap, goes back to the system.
    _TRIM_THRESHOLD: 1 << 30,
    # Threads have heaps of 64 MB, of which the last one goes back as soon as it is empty, unless so much is to be kept.
    _TOP_PAD: 64 << 20,
}


@cache
def keep_memory() -> bool:
    """Has this process keep what is freed, for the next arrays of that size, until :func:`give_back_memory`.

    Otherwise glibc gives large arrays back to the system, so that the pages of the next ones are new; for arrays of
    a block, some megabytes, their first touch takes longer than computing what is in them. No effect, and False, with
    another C library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    taken = [mallopt(parameter, value) for parameter, value in _SETTINGS.items()]
    return all(taken)


def give_back_memory() -> None:
    """Gives the system what was kept and is free."""
    if keep_memory():
        ctypes.CDLL(None).malloc_trim(0)
