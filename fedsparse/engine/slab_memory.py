"""Rows in the memory of this process, for workers that are threads of it.

Pages of a file are handed out one by one, in shared memory as well; memory of one's own comes in huge pages, so that
the first row of a client costs little more than a later one. It needs no ``/dev/shm``, which is small in containers.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

import numpy as np

from fedsparse.engine.rows import Array, Ids, Slab, StateSpec, span

__all__ = ["MemorySlab"]

_SEGMENT = 64 << 20
"""Bytes of a segment, about; only what is written to takes memory."""


class MemorySlab(Slab):
    """One state name's rows in segments of one size, made as they are needed.

    A row never moves, so that threads go on with what they have while another segment is made.

    Args:
        spec: what a row is.
    """

    def __init__(self, spec: StateSpec) -> None:
        self.spec = spec
        self._size = max(1, _SEGMENT // max(1, spec.row_bytes))
        self._segments: list[Array] = []
        self._room = 0

    def resize(self, slots: int) -> None:
        """See :meth:`Slab.resize`: nothing to do."""

    def allocate(self, start: int, count: int) -> None:
        """See :meth:`Slab.allocate`. The memory itself is taken as it is written."""
        while len(self._segments) * self._size < start + count:
            memory = mmap.mmap(
                -1, max(1, self.spec.row_bytes) * self._size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            )
            with suppress(OSError):  # a kernel without huge pages
                memory.madvise(mmap.MADV_HUGEPAGE)
            self._segments.append(np.ndarray((self._size, *self.spec.shape), self.spec.dtype, buffer=memory))
        self._room = max(self._room, start + count)

    def row(self, slot: int) -> Array:
        """See :meth:`Slab.row`."""
        self._check(slot, slot)
        found: Array = self._segments[slot // self._size][slot % self._size]
        return found

    def take(self, slots: Ids, out: Array) -> None:
        """See :meth:`Slab.take`."""
        low, top = span(slots)
        self._check(low, top)
        if 0 <= top < self._size:
            np.take(self._segments[0], slots, axis=0, out=out, mode="clip")
            return
        for i, slot in enumerate(slots.tolist()):
            out[i] = self._segments[slot // self._size][slot % self._size]

    def put(self, slots: Ids, rows: Array) -> None:
        """See :meth:`Slab.put`."""
        self._check(*span(slots))
        for slot, row in zip(slots.tolist(), rows, strict=True):
            self._segments[slot // self._size][slot % self._size] = row

    def close(self) -> None:
        """Let go of the segments; the memory goes when the last array made of it goes."""
        self._segments.clear()
        self._room = 0

    def _check(self, low: int, top: int) -> None:
        if low < 0 or top >= self._room:
            slot = low if low < 0 else top
            raise IndexError(
                f"client state {self.spec.name!r}: slot {slot} does not exist, there are {self._room}"
            )
