"""Rows in the memory of this process, for workers that are threads of it.

Pages of a file are handed out one by one, in shared memory as well; memory of one's own comes in huge pages, so that
the first row of a client costs little more than a later one. It needs no ``/dev/shm``, which is small in containers.

Large rows that a block made together stay in the array that they came in, and the same block reads that array the next
time: neither way copies. At least half of such an array is in use, or what is left of it moves to places of its own.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from fedsparse.engine.rows import Array, Ids, Slab, StateSpec, span

__all__ = ["MemorySlab"]

_SEGMENT = 64 << 20
"""Bytes of a segment, about; only what is written to takes memory."""

_LARGE = 1 << 14
"""Bytes of a row from which on a copy costs more than keeping books."""


@dataclass(eq=False)
class _Batch:
    """Rows of several slots in the array that they came in; nobody writes to it."""

    slots: list[int]
    rows: Array
    used: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self.used = set(self.slots)


class MemorySlab(Slab):
    """One state name's rows in segments of one size, made as they are needed, or in the arrays that they came in.

    A row in a segment never moves, so that threads go on with what they have while another segment is made.

    Args:
        spec: what a row is.
    """

    def __init__(self, spec: StateSpec) -> None:
        self.spec = spec
        self._size = max(1, _SEGMENT // max(1, spec.row_bytes))
        self._segments: list[Array] = []
        self._room = 0
        self._kept: dict[int, tuple[_Batch, Array]] = {}

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
        return self._row(slot)

    def take(self, slots: Ids, out: Array) -> None:
        """See :meth:`Slab.take`."""
        low, top = span(slots)
        self._check(low, top)
        if 0 <= top < self._size and not self._kept:
            np.take(self._segments[0], slots, axis=0, out=out, mode="clip")
            return
        for i, slot in enumerate(slots.tolist()):
            out[i] = self._row(slot)

    def put(self, slots: Ids, rows: Array) -> None:
        """See :meth:`Slab.put`."""
        self._check(*span(slots))
        self.free(slots.tolist())
        for slot, row in zip(slots.tolist(), rows, strict=True):
            self._place(slot)[...] = row

    def lend(self, slots: Ids) -> Array | None:
        """See :meth:`Slab.lend`."""
        batch = self._batch(int(slots[0])) if len(slots) else None
        return batch.rows if batch is not None and batch.slots == slots.tolist() else None

    def keep(self, slots: Ids, rows: Array, old: Ids) -> None:
        """See :meth:`Slab.keep`. Rows of clients that came together may well come together again."""
        if self.spec.row_bytes < _LARGE or not len(slots) or not self._together(old):
            self.put(slots, rows)
            return
        self._check(*span(slots))
        batch = _Batch(slots.tolist(), rows)
        self.free(batch.slots)
        self._kept.update((slot, (batch, row)) for slot, row in zip(batch.slots, rows, strict=True))

    def free(self, slots: Iterable[int]) -> None:
        """See :meth:`Slab.free`."""
        left = {}
        for slot in slots:
            batch, _ = self._kept.pop(slot, (None, None))
            if batch is not None:
                batch.used.discard(slot)
                left[id(batch)] = batch
        for batch in left.values():
            if 2 * len(batch.used) < len(batch.slots):
                self._move_out(batch)

    def close(self) -> None:
        """Let go of the segments; the memory goes when the last array made of it goes."""
        self._segments.clear()
        self._kept.clear()
        self._room = 0

    def _batch(self, slot: int) -> _Batch | None:
        return self._kept[slot][0] if slot in self._kept else None

    def _together(self, old: Ids) -> bool:
        """Whether these slots are nearly all of one batch, or none at all."""
        batches = Counter(map(self._batch, old.tolist()))
        [(most, count)] = batches.most_common(1)
        return 4 * count >= 3 * len(old) if most is not None else not (old >= 0).any()

    def _move_out(self, batch: _Batch) -> None:
        for slot in sorted(batch.used):
            # In this order, for threads that are reading: the row is in either place.
            self._place(slot)[...] = self._kept[slot][1]
            del self._kept[slot]
        batch.used.clear()

    def _row(self, slot: int) -> Array:
        kept = self._kept.get(slot)
        return self._place(slot) if kept is None else kept[1]

    def _place(self, slot: int) -> Array:
        """Where the slot is in the segments."""
        found: Array = self._segments[slot // self._size][slot % self._size, ...]
        return found

    def _check(self, low: int, top: int) -> None:
        if low < 0 or top >= self._room:
            slot = low if low < 0 else top
            raise IndexError(
                f"client state {self.spec.name!r}: slot {slot} does not exist, there are {self._room}"
            )
