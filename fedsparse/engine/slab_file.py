"""Rows in a memory-mapped file, which all processes of the machine share and which may be larger than memory.

The file is scratch: it ends with the run, needs no fsync, and what survives is the checkpoint. It is sparse.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from fedsparse.engine.rows import ADVICE, Array, Ids, Slab, StateSpec, span
from fedsparse.files import no_room

__all__ = ["FileSlab"]

_Map: TypeAlias = tuple[Array, npt.NDArray[np.bool_]]
"""The rows, and which of them this process has read through the map: replaced together, for other threads."""

_LARGE = 1 << 16
"""Bytes of a row from which on a system call costs less than the page faults that it saves."""


class FileSlab(Slab):
    """One state name's file ``[slots, *shape]``, mapped by this process and perhaps by others.

    Rows are read and written through the map; but a large row that this process has not read yet is written by a system
    call, which takes a quarter of the time: no faults, and no zeros that are written over. What a thread is using stays
    mapped while another one maps a grown file.

    Args:
        folder: where the file lies.
        spec: what a row is.
        create: make the file (the driver does, once), or open the one that is there.
    """

    def __init__(self, folder: Path, spec: StateSpec, *, create: bool = False) -> None:
        self.spec = spec
        self.path = folder / f"{quote(spec.name, safe='')}.slab"
        flags = os.O_RDWR | (os.O_CREAT | os.O_EXCL if create else 0)
        self.descriptor = os.open(self.path, flags, 0o600)
        self._mapped: _Map = np.empty((0, *spec.shape), spec.dtype), np.zeros(0, dtype=bool)

    def resize(self, slots: int) -> None:
        """See :meth:`Slab.resize`."""
        # A file of no bytes cannot be mapped.
        os.ftruncate(self.descriptor, max(1, self.spec.row_bytes) * slots)

    def allocate(self, start: int, count: int) -> None:
        """See :meth:`Slab.allocate`. Without this a full file system would kill who writes through the map with SIGBUS.

        A large row needs none of it: a system call writes it first, and fails with an error.
        """
        if 0 < self.spec.row_bytes < _LARGE and count:
            os.posix_fallocate(self.descriptor, start * self.spec.row_bytes, count * self.spec.row_bytes)

    def row(self, slot: int) -> Array:
        """See :meth:`Slab.row`."""
        rows, read = self._upto(slot + 1)
        read[slot] = True
        found: Array = rows[slot]
        return found

    def take(self, slots: Ids, out: Array) -> None:
        """See :meth:`Slab.take`."""
        rows, read = self._spanning(slots)
        read[slots] = True
        # "clip" copies straight into the output, twice as fast as the default; the range was checked.
        np.take(rows, slots, axis=0, out=out, mode="clip")

    def put(self, slots: Ids, rows: Array) -> None:
        """See :meth:`Slab.put`."""
        mapped, read = self._spanning(slots)
        large = self.spec.row_bytes >= _LARGE
        # Row by row is faster than one assignment through an index array.
        for slot, row in zip(slots.tolist(), rows, strict=True):
            if large and not read[slot]:
                self._write(slot, row)
            else:
                mapped[slot] = row

    def close(self) -> None:
        """Let go of the file; the map goes when the last array made of it goes."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        rows, read = self._mapped
        self._mapped = rows[:0].copy(), read[:0].copy()

    def _write(self, slot: int, row: Array) -> None:
        left = np.ascontiguousarray(row).reshape(-1).view(np.uint8).data
        place = slot * self.spec.row_bytes
        try:
            while left:
                written = os.pwrite(self.descriptor, left, place)
                left, place = left[written:], place + written
        except OSError as error:
            raise no_room(self.path, len(left), error, ADVICE) from error

    def _spanning(self, slots: Ids) -> _Map:
        low, top = span(slots)
        if low < 0:
            raise self._absent(low)
        return self._upto(top + 1)

    def _upto(self, slots: int) -> _Map:
        """At least ``slots`` rows; maps the file again if it has grown since."""
        found = self._mapped
        if len(found[0]) < slots:
            found = self._mapped = self._map(found[1])
        if len(found[0]) < slots:
            raise self._absent(slots - 1)
        return found

    def _map(self, before: npt.NDArray[np.bool_]) -> _Map:
        size = os.fstat(self.descriptor).st_size
        slots = size // max(1, self.spec.row_bytes)
        rows = np.ndarray((slots, *self.spec.shape), self.spec.dtype, buffer=mmap.mmap(self.descriptor, size))
        read = np.zeros(slots, dtype=bool)
        # A thread may mark a row of the old map meanwhile; without its mark the row is merely written another way.
        read[: len(before)] = before
        return rows, read

    def _absent(self, slot: int) -> IndexError:
        return IndexError(
            f"{self.path}: slot {slot} does not exist, the file has {len(self._mapped[0])} rows"
        )
