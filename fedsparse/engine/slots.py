"""Who has which slot: the driver's side of the client states.

A worker writes a client's new row to a *fresh* slot, which no index entry names, and the driver points the
index to it only when the client's message was accepted. So a half-written row is never seen, whenever a
worker dies; and a lost block is run again from rows that nobody has touched.

Every slot that was ever used is in exactly one place: in the index, reserved for a call, replaced in this
round, in quarantine, or free.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedsparse.engine.rows import ADVICE, Array, Ids, Slab, StateSpec
from fedsparse.engine.slab import Door, SlabView
from fedsparse.engine.slab_file import FileSlab
from fedsparse.engine.slab_memory import MemorySlab
from fedsparse.errors import ResourceError
from fedsparse.files import make_folder, no_room
from fedsparse.perclient import PerClient

__all__ = ["RowStream", "SlotStore"]

_FIRST_FILE = 1 << 30
_PIECE = 8 << 20


class SlotStore:
    """The states of all clients, as the driver keeps them. For one thread.

    Memory for rows grows with the clients that have taken part, not with those that are registered.

    Args:
        folder: a folder of its own for the slabs; removed by :meth:`close` and at the end of the process. None keeps
            the rows in the memory of this process, where only its threads can work on them.
        specs: what a client's rows are; may be empty.
        capacity_hint: slots that will be used, about; the files grow beyond it.
        first: the row of a client that never took part, by name, shaped as its spec.

    Raises:
        ProtocolError: ``first`` does not fit ``specs``.
        ResourceError: the files cannot be made.
    """

    def __init__(
        self, folder: Path | None, specs: Sequence[StateSpec], capacity_hint: int, first: Mapping[str, Array]
    ) -> None:
        self.folder = folder
        self.specs = tuple(specs)
        self._index = PerClient()
        self._free: list[int] = []
        self._reserved: set[int] = set()
        self._replaced: list[int] = []
        self._quarantine: dict[Hashable, list[int]] = {}
        self._used = 0
        self._capacity = 0
        self._slabs: tuple[Slab, ...] = ()
        if folder is None:
            self._slabs = tuple(MemorySlab(spec) for spec in specs)
        else:
            make_folder(folder)
            files: list[FileSlab] = []
            self._remove = weakref.finalize(self, _remove, folder, files, os.getpid())
            try:
                files.extend(FileSlab(folder, spec, create=True) for spec in specs)
            except OSError as error:
                raise no_room(folder, 0, error, ADVICE) from error
            self._slabs = tuple(files)
        largest = max((spec.row_bytes for spec in specs), default=0)
        # Length costs nothing in a sparse file, but address space in every process.
        self._grow(max(1, min(capacity_hint, _FIRST_FILE // max(1, largest))))
        self._view = SlabView(self.door, specs, first)

    @property
    def door(self) -> Door:
        """Where a worker's :class:`SlabView` finds the rows."""
        return self._slabs if self.folder is None else self.folder

    # ---- who has what

    def slots_of(self, ids: Ids) -> Ids:
        """The slot of each client ``[C]``, -1 for those that were never written."""
        return self._index.get(ids)

    def seen(self, ids: Ids) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Whether each client has a committed row, ``[C]`` bool."""
        return self._index.get(ids) >= 0

    def known(self) -> Ids:
        """The clients that have a committed row, ascending."""
        return self._index.items()[0]

    # ---- the life of a slot

    def reserve(self, count: int) -> Ids:
        """``[count]`` slots to write to.

        Raises:
            ResourceError: there is no room; nothing has changed then.
        """
        recycled = min(count, len(self._free))
        fresh = self._allocate(count - recycled)
        slots = [*(self._free.pop() for _ in range(recycled)), *fresh]
        self._reserved.update(slots)
        return np.array(slots, dtype=np.int64)

    def commit(self, ids: Ids, new_slots: Ids) -> None:
        """Make reserved slots the rows of clients ``[C]``; their old ones are free after :meth:`close_round`.

        Raises:
            ValueError: a client comes twice, or a slot was not reserved; nothing has changed then.
        """
        if len(set(ids.tolist())) != len(ids) or len(ids) != len(new_slots):
            raise ValueError(f"{len(ids)} clients, some twice, cannot get {len(new_slots)} slots")
        self._take_back(new_slots)
        old = self._index.get(ids)
        self._replaced.extend(old[old >= 0].tolist())
        self._index.set(ids, new_slots)

    def release(self, slots: Ids) -> None:
        """Free reserved slots whose writer has finished and whose rows are not wanted.

        Raises:
            ValueError: a slot was not reserved.
        """
        self._set_free(self._take_back(slots))

    def close_round(self) -> None:
        """Free the slots that commits replaced: the round is complete, nobody asks for its old rows again."""
        self._set_free(self._replaced)
        self._replaced = []

    def quarantine(self, slots: Ids, key: Hashable) -> None:
        """Set reserved slots aside: the worker ``key`` is given up, but perhaps not dead and writing to them.

        Raises:
            ValueError: a slot was not reserved.
        """
        self._quarantine.setdefault(key, []).extend(self._take_back(slots))

    def release_quarantine(self, key: Hashable) -> None:
        """Free the slots of worker ``key``, which is known to be dead."""
        self._set_free(self._quarantine.pop(key, []))

    # ---- their rows

    def rows(self, ids: Ids) -> dict[str, Array]:
        """Copies of the clients' rows, ``[C, ...]`` for each state name."""
        return self._view.gather(self.slots_of(ids))

    def stream(self, ids: Ids) -> dict[str, RowStream]:
        """As :meth:`rows`, some MiB at a time, in the order of ``ids``: a checkpoint is written from it."""
        slots = self.slots_of(ids)
        return {spec.name: RowStream(spec, slots, self._view) for spec in self.specs}

    def write(self, ids: Ids, rows: Mapping[str, Array]) -> None:
        """Give clients rows ``[C, ...]`` from outside a round, e.g. from a checkpoint.

        Raises:
            ProtocolError: the rows do not fit the specs.
            ResourceError: no room.
        """
        slots = self.reserve(len(ids))
        try:
            self._view.scatter(slots, rows)
        except Exception:
            self.release(slots)
            raise
        self.commit(ids, slots)
        self.close_round()

    def put(self, slots: Ids, rows: Mapping[str, Array]) -> None:
        """Write rows ``[C, ...]`` to reserved slots, for a worker that does not share this memory.

        Raises:
            ProtocolError: the rows do not fit the specs.
        """
        self._view.scatter(slots, rows)

    def close(self) -> None:
        """Delete the rows, and their files; twice does no harm. Also happens when the process ends."""
        self._view.close()
        for slab in self._slabs:
            slab.close()
        if self.folder is not None:
            self._remove()

    def _set_free(self, slots: list[int]) -> None:
        self._free.extend(slots)
        for slab in self._slabs:
            slab.free(slots)

    def _take_back(self, slots: Ids) -> list[int]:
        taken: list[int] = slots.tolist()
        if len(set(taken)) != len(taken) or not self._reserved.issuperset(taken):
            raise ValueError(
                f"slots {sorted(set(taken) - self._reserved) or taken} are not reserved, or come twice"
            )
        self._reserved.difference_update(taken)
        return taken

    def _allocate(self, count: int) -> Iterable[int]:
        """Slots that were never used before, as the next ones of the files."""
        start, end = self._used, self._used + count
        if end > self._capacity:
            self._grow(max(end, 2 * self._capacity))
        for slab in self._slabs:
            try:
                slab.allocate(start, count)
            except OSError as error:
                raise self._no_room(slab, count, error) from error
        self._used = end
        return range(start, end)

    def _grow(self, slots: int) -> None:
        for slab in self._slabs:
            try:
                slab.resize(slots)
            except OSError as error:
                raise self._no_room(slab, slots - self._capacity, error) from error
        self._capacity = slots

    def _no_room(self, slab: Slab, count: int, error: OSError) -> ResourceError:
        needed = count * slab.spec.row_bytes
        if isinstance(slab, FileSlab):
            return no_room(slab.path, needed, error, ADVICE)
        return ResourceError(
            f"client state {slab.spec.name!r}: no memory for {needed} bytes more: {error.strerror}. {ADVICE}"
        )


@dataclass(frozen=True)
class RowStream:
    """The rows of one state name ``[C, ...]``, in pieces (a ``Chunked`` of :mod:`fedsparse.archive`)."""

    spec: StateSpec
    slots: Ids
    view: SlabView

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole."""
        return (len(self.slots), *self.spec.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its numbers."""
        return np.dtype(self.spec.dtype)

    def chunks(self) -> Iterator[Array]:
        """The rows in order, about 8 MiB at a time."""
        step = max(1, _PIECE // max(1, self.spec.row_bytes))
        for start in range(0, len(self.slots), step):
            yield self.view.gather_one(self.spec.name, self.slots[start : start + step])


def _remove(folder: Path, slabs: Sequence[FileSlab], owner: int) -> None:
    # A forked child inherits the finalizer, but not the files.
    if os.getpid() != owner:
        return
    with suppress(OSError):
        for slab in slabs:
            slab.close()
            slab.path.unlink(missing_ok=True)
        folder.rmdir()
