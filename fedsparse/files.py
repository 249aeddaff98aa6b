"""Files that appear whole or not at all, and what to say when there is no room for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fedsparse.errors import ResourceError

__all__ = ["TEMPORARY", "free_bytes", "make_folder", "no_room", "replacing", "sync_folder"]

TEMPORARY = ".tmp"
"""Suffix of a file that is being written; one left behind by a killed process may be deleted."""


def free_bytes(path: Path) -> int:
    """Bytes that this user may still write to the file system of ``path``, which need not exist yet.

    Raises:
        OSError: as the operating system says.
    """
    room = os.statvfs(next(place for place in (path, *path.parents) if place.exists()))
    return room.f_bavail * room.f_frsize


def no_room(path: Path, needed: int, error: OSError, advice: str) -> ResourceError:
    """The error for a file that could not be written.

    Args:
        path: the file.
        needed: bytes that the operation needed.
        error: what the operating system said.
        advice: what the user can do, a whole sentence.
    """
    try:
        room = str(free_bytes(path))
    except OSError:
        room = "an unknown number of"
    reason = error.strerror or error
    return ResourceError(
        f"{path}: cannot write: {reason}; {needed} bytes needed, {room} bytes free. {advice}"
    )


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a power failure.

    Raises:
        OSError: as the operating system says.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create ``folder`` and its parents; nothing happens where it exists.

    Raises:
        ResourceError: it could not be created.
    """
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
    except OSError as error:
        raise no_room(folder, 0, error, "Name a folder that this user may write to.") from error


@contextmanager
def replacing(path: Path, needed: int) -> Iterator[BinaryIO]:
    """Write a file in one step: readers see the old one or the whole new one, also after a power failure.

    Args:
        path: the file, new or to be replaced.
        needed: its size in bytes, for the error's text.

    Yields:
        The file to write to. When the block ends by an exception the old file stays as it was.

    Raises:
        ResourceError: the file could not be written.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise no_room(path, needed, error, "Free some space, or choose another folder.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
