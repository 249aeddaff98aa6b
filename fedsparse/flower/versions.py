"""What a device keeps: named arrays as of several exchanges, one file each, so that it can go back.

A device does not know whether its answer was accepted until the next order says so, and a server that was killed goes
on from its last checkpoint. So there is a version for each of these: the one that counts, the one of the checkpoint,
and the newest. A file is whole or it is not there, whenever the device is switched off.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from fedsparse.archive import Array, read, write
from fedsparse.files import TEMPORARY, make_folder
from fedsparse.flower.letters import Stamp

__all__ = ["Versions"]


class Versions:
    """The versions of one thing.

    Args:
        folder: where they lie; made with the first one.
        name: what their files' names begin with.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name

    def stamps(self) -> list[Stamp]:
        """Of which exchanges there is one, ascending."""
        pattern = re.compile(rf"{re.escape(self._name)}-(\d{{10}})-(\d{{3}})\.ckpt")
        found = (pattern.fullmatch(path.name) for path in self._folder.glob(f"{self._name}-*"))
        return sorted(Stamp(int(match[1]), int(match[2])) for match in found if match)

    def read(self, stamp: Stamp) -> dict[str, np.ndarray]:
        """Copies of the arrays as of an exchange.

        Raises:
            CheckpointError: there is no such version, or it is damaged.
        """
        arrays = read(self._path(stamp))[1]
        return {name: value.copy() for name, value in arrays.items()}

    def write(self, stamp: Stamp, arrays: Mapping[str, Array]) -> None:
        """Keeps a version.

        Raises:
            ResourceError: there is no room.
        """
        make_folder(self._folder)
        write(self._path(stamp), {"round": stamp.round, "number": stamp.number}, arrays)

    def forget_from(self, stamp: Stamp) -> None:
        """The run goes on with this exchange: what was kept of it, or later, was never."""
        self.keep([s for s in self.stamps() if s < stamp])

    def keep(self, wanted: Collection[Stamp]) -> None:
        """Deletes all others."""
        for leftover in self._folder.glob(f"{self._name}-*{TEMPORARY}"):
            leftover.unlink(missing_ok=True)
        for stamp in self.stamps():
            if stamp not in wanted:
                self._path(stamp).unlink(missing_ok=True)

    def _path(self, stamp: Stamp) -> Path:
        return self._folder / f"{self._name}-{stamp.round:010d}-{stamp.number:03d}.ckpt"
