"""Big read-only arrays as files that every process of this machine maps: one copy, however many workers."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fedsparse.engine.place import choose_folder
from fedsparse.engine.pool import Arrays
from fedsparse.files import no_room

__all__ = ["ArrayFiles", "FileArray"]


@dataclass(frozen=True)
class FileArray:
    """An array that lies in a file; the recipe to map it, small enough to be sent."""

    path: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int  # bytes
    order: Literal["C", "F"]

    @classmethod
    def of(cls, array: np.ndarray[Any, Any]) -> FileArray | None:
        """The file in which ``array`` lies as it is; None for one in memory, or a view of a mapped one."""
        # A view keeps the offset of the whole, so only an array directly on its map can be trusted.
        base: object = array.base
        if not isinstance(array, np.memmap) or not isinstance(base, mmap.mmap):
            return None
        if array.mode == "c":  # what was written to a private copy is not in the file
            return None
        path = array.filename
        if path is None or not Path(path).is_file():
            return None
        order: Literal["C", "F"] = "C" if array.flags.c_contiguous else "F"
        return cls(os.fspath(path), array.dtype, array.shape, array.offset, order)

    def open(self) -> np.ndarray[Any, Any]:
        """Map the file, read-only."""
        return np.memmap(
            self.path, self.dtype, mode="r", offset=self.offset, shape=self.shape, order=self.order
        )


class ArrayFiles:
    """A scratch folder, in shared memory while there is room, with one file for each array not yet in one."""

    def __init__(self) -> None:
        self._placed: dict[str, tuple[np.ndarray[Any, Any], FileArray]] = {}
        self._folders: list[Path] = []

    def place(self, arrays: Arrays) -> dict[str, FileArray]:
        """Write what is not in a file; the same array is not written again in the next call.

        Raises:
            ResourceError: there is no room for it.
        """
        placed = {name: old for name, old in self._placed.items() if arrays.get(name) is old[0]}
        for name, array in arrays.items():
            if name not in placed and (file := FileArray.of(array)):
                placed[name] = array, file
        missing = {name: array for name, array in arrays.items() if name not in placed}
        if missing:
            folder = self._new_folder(sum(array.nbytes for array in missing.values()))
            for number, (name, array) in enumerate(missing.items()):
                placed[name] = array, _write(folder / f"{number}.npy", array)
        self._placed = placed
        self._remove(keep=[file.path for _, file in placed.values()])
        return {name: placed[name][1] for name in arrays}

    def close(self) -> None:
        """Remove the scratch folders; maps that are open stay valid."""
        self._placed = {}
        self._remove(keep=[])

    def _new_folder(self, size: int) -> Path:
        folder = choose_folder(None, size, Path(tempfile.gettempdir()))
        self._folders.append(folder)
        return folder

    def _remove(self, keep: list[str]) -> None:
        used = {Path(path).parent for path in keep}
        for folder in set(self._folders) - used:
            shutil.rmtree(folder, ignore_errors=True)
            self._folders.remove(folder)


def _write(path: Path, array: np.ndarray[Any, Any]) -> FileArray:
    try:
        np.save(path, array, allow_pickle=False)
    except OSError as error:
        raise no_room(
            path, array.nbytes, error, "The data set must fit there, for all workers to share it."
        ) from error
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    return FileArray(
        str(path), mapped.dtype, mapped.shape, mapped.offset, "C" if mapped.flags.c_contiguous else "F"
    )
