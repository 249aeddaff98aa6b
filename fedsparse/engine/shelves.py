"""Large arrays on their way between processes of a machine: through files in memory that are used again and again.

A store that makes a new object for each array takes new pages for it, and their first touch costs more than the
copy. A *shelf* is a file in shared memory that one process writes and others map; when nobody holds its arrays any
more it takes the next ones.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Parcel", "Reader", "Shelves"]

Array: TypeAlias = npt.NDArray[Any]

_ALIGNED = 64
"""Bytes that every array's place is a multiple of."""


@dataclass(frozen=True)
class Parcel:
    """Where arrays lie, small enough to be sent.

    Attributes:
        shelf: its number, among those of the writer.
        path: its file.
        nbytes: of the file.
        places: of each array the first byte, the dtype and the shape.
    """

    shelf: int
    path: str
    nbytes: int
    places: tuple[tuple[int, np.dtype[Any], tuple[int, ...]], ...]


@dataclass
class _Shelf:
    descriptor: int
    path: Path
    nbytes: int
    memory: mmap.mmap


class Shelves:
    """The shelves of one writer.

    Args:
        folder: in shared memory.
        name: of the files, which no other writer has.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._stem = folder / name
        self._shelves: list[_Shelf] = []
        self._free: list[int] = []

    def put(self, arrays: Sequence[Array]) -> Parcel | None:
        """Copies arrays to a free shelf, which is made or made longer where none is long enough; None: no room."""
        places, end = [], 0
        for array in arrays:
            places.append((end, array.dtype, array.shape))
            end += -(-array.nbytes // _ALIGNED) * _ALIGNED
        try:
            number = self._take(max(end, 1))
        except OSError:  # it would kill the writer to find out later
            return None
        shelf = self._shelves[number]
        parcel = Parcel(number, str(shelf.path), shelf.nbytes, tuple(places))
        for view, array in zip(_views(np.frombuffer(shelf.memory, np.uint8), parcel), arrays, strict=True):
            view[...] = array
        return parcel

    def free(self, numbers: Iterable[int]) -> None:
        """Nobody has the arrays on these shelves any more."""
        self._free.extend(numbers)

    def close(self) -> None:
        """Removes the files; whoever has mapped one keeps it."""
        for shelf in self._shelves:
            os.close(shelf.descriptor)
            shelf.path.unlink(missing_ok=True)
        self._shelves, self._free = [], []

    def _take(self, nbytes: int) -> int:
        ready = sorted(self._free, key=lambda n: self._shelves[n].nbytes)
        number = next((n for n in ready if self._shelves[n].nbytes >= nbytes), ready[-1] if ready else None)
        if number is None:
            number = self._new(nbytes)
        else:
            self._lengthen(self._shelves[number], nbytes)
            self._free.remove(number)
        return number

    def _new(self, nbytes: int) -> int:
        path = self._stem.with_name(f"{self._stem.name}-{len(self._shelves)}")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, nbytes)
            memory = mmap.mmap(descriptor, nbytes)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        self._shelves.append(_Shelf(descriptor, path, nbytes, memory))
        return len(self._shelves) - 1

    @staticmethod
    def _lengthen(shelf: _Shelf, nbytes: int) -> None:
        if nbytes > shelf.nbytes:
            os.posix_fallocate(shelf.descriptor, 0, nbytes)
            shelf.nbytes, shelf.memory = nbytes, mmap.mmap(shelf.descriptor, nbytes)


class Reader:
    """Finds the arrays that one writer put on its shelves.

    Args:
        alone: nobody else reads them, so that a file needs no name any more once it is known here.
    """

    def __init__(self, alone: bool = False) -> None:
        self._alone = alone
        self._open: dict[str, tuple[int, mmap.mmap]] = {}

    def open(self, parcel: Parcel, done: Callable[[int], object] | None = None) -> list[Array]:
        """The arrays, read-only, without a copy.

        Args:
            parcel: where they are.
            done: is told the shelf's number when the last of them is gone.
        """
        memory = self._map(parcel)
        whole = np.frombuffer(memory, np.uint8)
        whole.flags.writeable = False
        if done is not None:
            weakref.finalize(whole, done, parcel.shelf).atexit = False
        return _views(whole, parcel)

    def close(self) -> None:
        """Lets go of the files; arrays that are still held stay valid."""
        for descriptor, _ in self._open.values():
            os.close(descriptor)
        self._open = {}

    def _map(self, parcel: Parcel) -> mmap.mmap:
        descriptor, memory = self._open.get(parcel.path, (-1, None))
        if descriptor < 0:
            descriptor = os.open(parcel.path, os.O_RDWR)
            if self._alone:
                Path(parcel.path).unlink()
        if memory is None or len(memory) < parcel.nbytes:
            memory = mmap.mmap(descriptor, parcel.nbytes)
            self._open[parcel.path] = descriptor, memory
        return memory


def _views(whole: Array, parcel: Parcel) -> list[Array]:
    found = []
    for first, dtype, shape in parcel.places:
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        found.append(whole[first : first + count].view(dtype).reshape(shape))
    return found
