"""How workers read and write client rows: in files that they share with the driver, or in the driver's own memory.

The driver makes room for a row before anybody writes it (:mod:`fedsparse.engine.slots`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from fedsparse.engine.rows import Array, Ids, Slab, StateSpec, span
from fedsparse.engine.slab_file import FileSlab
from fedsparse.errors import ProtocolError

__all__ = ["Array", "Door", "Ids", "SlabView", "StateSpec"]

Door: TypeAlias = Path | tuple[Slab, ...]
"""Where the rows are: a folder of files, or for threads of the driver the slabs themselves."""


class SlabView:
    """How a worker reads and writes client rows. One for each process; its threads may share it.

    Args:
        door: where the rows are.
        specs: what the rows are.
        first: the row of a client that was never written, by name, shaped as its spec.

    Raises:
        ProtocolError: ``first`` does not fit ``specs``.
        FileNotFoundError: the store is gone: its run has ended.
    """

    def __init__(self, door: Door, specs: Sequence[StateSpec], first: Mapping[str, Array]) -> None:
        self.specs = tuple(specs)
        self._first = checked_first(specs, first)
        self._opened = [] if isinstance(door, tuple) else [FileSlab(door, spec) for spec in specs]
        self._slabs: Sequence[Slab] = door if isinstance(door, tuple) else self._opened

    def gather(self, slots: Ids, out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Copy rows out of the slabs.

        Args:
            slots: ``[C]``, -1 for a client that was never written.
            out: arrays ``[at least C, ...]`` to reuse, by name; new ones otherwise.

        Returns:
            ``[C, ...]`` for each state name: copies, which may be changed and kept.

        Raises:
            IndexError: a slot that does not exist.
            ProtocolError: an array of ``out`` does not fit.
        """
        return {
            slab.spec.name: self._gather(slab, slots, None if out is None else out[slab.spec.name])
            for slab in self._slabs
        }

    def lend(self, slots: Ids) -> dict[str, Array]:
        """As :meth:`gather`, but perhaps the rows themselves: they must not be written to."""
        return {
            slab.spec.name: self._gather(slab, slots, None) if (found := slab.lend(slots)) is None else found
            for slab in self._slabs
        }

    def scatter(self, slots: Ids, rows: Mapping[str, Array]) -> None:
        """Write rows into fresh slots.

        Args:
            slots: ``[C]``, as the store reserved them for this call.
            rows: ``[C, ...]`` for each state name, all of them.

        Raises:
            ProtocolError: other names, shapes or dtypes than the specs say; nothing was written then.
            IndexError: a slot that does not exist.
        """
        self._check(slots, rows)
        for slab in self._slabs:
            slab.put(slots, rows[slab.spec.name])

    def keep(self, slots: Ids, rows: Mapping[str, Array], old: Ids) -> None:
        """As :meth:`scatter`, of rows with memory of their own that nobody writes to any more.

        Args:
            slots: ``[C]``, as the store reserved them for this call.
            rows: ``[C, ...]`` for each state name; they may stay where they are.
            old: ``[C]``, where the clients' rows were before, -1 for those that were never written.
        """
        self._check(slots, rows)
        for slab in self._slabs:
            slab.keep(slots, rows[slab.spec.name], old)

    def _check(self, slots: Ids, rows: Mapping[str, Array]) -> None:
        names = {spec.name for spec in self.specs}
        if rows.keys() != names:
            raise ProtocolError(
                f"client states came as {sorted(rows)}, they were declared as {sorted(names)}. "
                "Return every state that init made, and no other."
            )
        for spec in self.specs:
            spec.check(rows[spec.name], len(slots))

    def close(self) -> None:
        """Let go of the files that it opened; twice does no harm."""
        for slab in self._opened:
            slab.close()

    def gather_one(self, name: str, slots: Ids) -> Array:
        """:meth:`gather` for one state name."""
        slab = next(slab for slab in self._slabs if slab.spec.name == name)
        return self._gather(slab, slots, None)

    def _gather(self, slab: Slab, slots: Ids, out: Array | None) -> Array:
        spec, first = slab.spec, self._first[slab.spec.name]
        if out is None:
            rows = np.empty((len(slots), *spec.shape), spec.dtype)
        else:
            rows = out[: len(slots)]
            spec.check(rows, len(slots))
        low, _ = span(slots)
        if low < -1:
            raise IndexError(f"client state {spec.name!r}: slot {low} does not exist")
        if low >= 0:
            slab.take(slots, rows)
        else:
            # Reading a row that nobody wrote would use memory for it.
            for i, slot in enumerate(slots.tolist()):
                rows[i] = first if slot < 0 else slab.row(slot)
        return rows


def checked_first(specs: Sequence[StateSpec], first: Mapping[str, Array]) -> dict[str, Array]:
    """The rows of clients that were never written, after checking that they fit ``specs``.

    Raises:
        ProtocolError: one is missing or does not fit.
    """
    for spec in specs:
        if spec.name not in first:
            raise ProtocolError(f"client state {spec.name!r} has no first row. Return it from init.")
        spec.check(first[spec.name][None], 1)
    return {spec.name: first[spec.name] for spec in specs}
