"""Slabs: the state rows of all clients, one memory-mapped file for each state name, shared by all processes.

A slab is scratch: it ends with the run, needs no fsync, and what survives is the checkpoint. Its file is
sparse; the driver makes room for a row before anybody writes it (:mod:`fedsparse.engine.slots`).
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from fedsparse.errors import ProtocolError

__all__ = ["Array", "Ids", "Slab", "SlabView", "StateSpec"]

Array: TypeAlias = npt.NDArray[Any]
Ids: TypeAlias = npt.NDArray[np.int64]

_ITEM_SIZES = {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "b": (1,)}


@dataclass(frozen=True)
class StateSpec:
    """One named value of a client's state.

    Args:
        name: its key in the state.
        shape: shape of one client's row, without the client axis.
        dtype: NumPy's name of a float, integer or boolean type, e.g. ``"float32"``.

    Raises:
        ProtocolError: a type that a state cannot have.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        numbers = np.dtype(self.dtype)
        if numbers.itemsize not in _ITEM_SIZES.get(numbers.kind, ()) or not numbers.isnative:
            raise ProtocolError(
                f"client state {self.name!r} has dtype {self.dtype}; allowed are float16, float32, float64, "
                "integers and bool. Convert it in init."
            )

    @property
    def row_bytes(self) -> int:
        """Bytes of one client's row."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def check(self, rows: Array, count: int) -> None:
        """Refuse ``rows`` unless just ``[count, *shape]`` of this dtype: nothing is broadcast or converted.

        Raises:
            ProtocolError: says the state's name and the difference.
        """
        expected = (count, *self.shape)
        if rows.shape != expected or rows.dtype != np.dtype(self.dtype):
            raise ProtocolError(
                f"client state {self.name!r} came as {rows.dtype} {list(rows.shape)}, it was declared as "
                f"{self.dtype} {list(expected)}. Keep shape and dtype of a state as init made them."
            )


class Slab:
    """One state name's file ``[slots, *shape]``, mapped by this process and perhaps by others.

    Safe for threads: what a thread is using stays mapped while another one maps a grown file.

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
        self._rows = np.empty((0, *spec.shape), spec.dtype)

    def upto(self, slots: int) -> Array:
        """The mapped rows, at least ``slots`` of them; maps the file again if it has grown since.

        Raises:
            IndexError: the file has fewer rows: a slot that the driver never handed out.
        """
        rows = self._rows
        if len(rows) < slots:
            rows = self._rows = self._map()
        if len(rows) < slots:
            raise IndexError(f"{self.path}: slot {slots - 1} does not exist, the file has {len(rows)} rows")
        return rows

    def resize(self, slots: int) -> None:
        """Make the file ``slots`` rows long, without using space for them.

        Raises:
            OSError: as the operating system says.
        """
        # A file of no bytes cannot be mapped.
        os.ftruncate(self.descriptor, max(1, self.spec.row_bytes) * slots)

    def allocate(self, start: int, count: int) -> None:
        """Use space for ``count`` rows from slot ``start``, so that writing them cannot fail later.

        Raises:
            OSError: there is none. Without this a full file system would kill the writer with SIGBUS.
        """
        if self.spec.row_bytes and count:
            os.posix_fallocate(self.descriptor, start * self.spec.row_bytes, count * self.spec.row_bytes)

    def close(self) -> None:
        """Let go of the file; the map goes when the last array made of it goes."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        self._rows = self._rows[:0].copy()

    def _map(self) -> Array:
        size = os.fstat(self.descriptor).st_size
        slots = size // max(1, self.spec.row_bytes)
        return np.ndarray((slots, *self.spec.shape), self.spec.dtype, buffer=mmap.mmap(self.descriptor, size))


class SlabView:
    """How a worker reads and writes client rows. One for each process; its threads may share it.

    Args:
        folder: the store's folder.
        specs: what the rows are.
        first: the row of a client that was never written, by name, shaped as its spec.

    Raises:
        ProtocolError: ``first`` does not fit ``specs``.
        FileNotFoundError: the store is gone: its run has ended.
    """

    def __init__(self, folder: Path, specs: Sequence[StateSpec], first: Mapping[str, Array]) -> None:
        self.specs = tuple(specs)
        self._first = checked_first(specs, first)
        self._slabs = [Slab(folder, spec) for spec in specs]

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

    def scatter(self, slots: Ids, rows: Mapping[str, Array]) -> None:
        """Write rows into fresh slots.

        Args:
            slots: ``[C]``, as the store reserved them for this call.
            rows: ``[C, ...]`` for each state name, all of them.

        Raises:
            ProtocolError: other names, shapes or dtypes than the specs say; nothing was written then.
            IndexError: a slot that does not exist.
        """
        names = {spec.name for spec in self.specs}
        if rows.keys() != names:
            raise ProtocolError(
                f"client states came as {sorted(rows)}, they were declared as {sorted(names)}. "
                "Return every state that init made, and no other."
            )
        for spec in self.specs:
            spec.check(rows[spec.name], len(slots))
        low, top = _range(slots)
        if low < 0:
            raise IndexError(f"slot {low} cannot be written")
        for slab in self._slabs:
            mapped, new = slab.upto(top + 1), rows[slab.spec.name]
            # Faster than one assignment through an index array.
            for slot, row in zip(slots.tolist(), new, strict=True):
                mapped[slot] = row

    def close(self) -> None:
        """Let go of the files; twice does no harm."""
        for slab in self._slabs:
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
        low, top = _range(slots)
        if low < -1:
            raise IndexError(f"{slab.path}: slot {low} does not exist")
        mapped = slab.upto(top + 1)
        if low >= 0:
            # "clip" copies straight into the output, twice as fast as the default; the range was checked.
            np.take(mapped, slots, axis=0, out=rows, mode="clip")
        else:
            # Reading a row that nobody wrote would use memory for it.
            for i, slot in enumerate(slots.tolist()):
                rows[i] = first if slot < 0 else mapped[slot]
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


def _range(slots: Ids) -> tuple[int, int]:
    """Lowest and highest slot; of no slots 0 and -1."""
    return (int(slots.min()), int(slots.max())) if len(slots) else (0, -1)
