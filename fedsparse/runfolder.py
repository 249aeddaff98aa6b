"""The folder of a run: what it holds, and that only one process writes to it.

::

    config.yaml     the resolved configuration
    rounds.jsonl    one line for each round, flushed at once: a killed run is readable
    summary.json    the result; its presence says that the run is finished
    checkpoint/     see fedsparse.checkpoint
    lock            held while the run lives, with its process id for other people's eyes

The lock is the operating system's (``flock``): it ends with the process, however that ends, so no lock is
ever stale.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from fedsparse.checkpoint import CheckpointFolder
from fedsparse.errors import RunFolderError
from fedsparse.files import TEMPORARY, make_folder, no_room, replacing

__all__ = ["RunFolder", "default_path", "read_rounds", "read_summary"]

_CONFIG = "config.yaml"
_ROUNDS = "rounds.jsonl"
_SUMMARY = "summary.json"
_LOCK = "lock"


class RunFolder:
    """A run folder that this process holds. Made by :meth:`create` or :meth:`resume`; a context manager."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.checkpoints = CheckpointFolder(path / "checkpoint")
        self._lock = lock
        self._rounds = (path / _ROUNDS).open("ab", buffering=0)

    @classmethod
    def create(cls, path: Path, config: str) -> RunFolder:
        """Begin a new run.

        Args:
            path: the folder; created, or empty.
            config: the resolved configuration as YAML text.

        Raises:
            RunFolderError: another live run has the folder, or there is something in it already.
            ResourceError: it could not be written.
        """
        _refuse_foreign(path)
        make_folder(path)
        with _locking(path) as lock:
            _refuse_run(path)
            _note_owner(lock)
            _replace(path / _CONFIG, config)
            return cls(path, lock)

    @classmethod
    def resume(cls, path: Path) -> RunFolder:
        """Take up a run again; a half last line of its records is dropped.

        Raises:
            RunFolderError: there is no run in the folder, or another live run has it.
            ResourceError: it could not be written.
        """
        if not (path / _CONFIG).is_file():
            raise RunFolderError(f"{path}: there is no run to resume here (no {_CONFIG}). Check the path.")
        with _locking(path) as lock:
            _note_owner(lock)
            _drop_half_line(path / _ROUNDS)
            return cls(path, lock)

    @property
    def finished(self) -> bool:
        """Whether the run has a summary."""
        return (self.path / _SUMMARY).exists()

    @property
    def config(self) -> str:
        """The text of the configuration, as given to :meth:`create`."""
        return (self.path / _CONFIG).read_text(encoding="utf-8")

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a round's line to the records; it outlives the process, after :meth:`sync` a power failure.

        Args:
            record: must have the key ``round``; values are what JSON can say, or NumPy scalars.

        Raises:
            ResourceError: no room; the records then end with the line before.
        """
        line = memoryview((json.dumps(record, default=_plain) + "\n").encode())
        end = os.fstat(self._rounds.fileno()).st_size
        written = 0
        try:
            while written < len(line):
                written += self._rounds.write(line[written:])
        except OSError as error:
            self._rounds.truncate(end)
            raise no_room(
                self.path / _ROUNDS, len(line), error, "Free some space, then resume the run."
            ) from error

    def sync(self) -> None:
        """Make the records safe on the disk; call it before a checkpoint that builds on them."""
        try:
            os.fsync(self._rounds.fileno())
        except OSError as error:
            raise no_room(self.path / _ROUNDS, 0, error, "Check the disk, then resume the run.") from error

    def truncate_after(self, round: int) -> None:  # noqa: A002 - a round is a round
        """Forget the records of later rounds than ``round``, which a resumed run does again.

        Raises:
            RunFolderError: the records are damaged, or end before that round.
        """
        keep, last = 0, 0
        for end, record in _lines(self.path / _ROUNDS):
            if record["round"] > round:
                break
            keep, last = end, record["round"]
        if last < round and keep == os.fstat(self._rounds.fileno()).st_size:
            raise RunFolderError(
                f"{self.path / _ROUNDS}: the records end with round {last}, the checkpoint is of round "
                f"{round}: lines were lost. Start a new run."
            )
        self._rounds.truncate(keep)
        self.sync()

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the result, in one step; the run then counts as finished.

        Raises:
            ResourceError: no room.
        """
        _replace(self.path / _SUMMARY, json.dumps(summary, default=_plain, indent=2) + "\n")

    def withdraw(self) -> None:
        """Take back what :meth:`create` made, of a run that was refused; one that has begun stays as it is."""
        begun = self.checkpoints.latest() is not None or os.fstat(self._rounds.fileno()).st_size > 0
        if begun:
            return
        for name in (_ROUNDS, _CONFIG, _LOCK):
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):  # there may be something of somebody else's
            self.path.rmdir()

    def close(self) -> None:
        """Give the folder back; twice does no harm."""
        if not self._rounds.closed:
            self._rounds.close()
            os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_rounds(path: Path) -> list[dict[str, Any]]:
    """The records of a run, finished, live or killed; a last line that is not whole is left out.

    Args:
        path: the run folder.

    Raises:
        RunFolderError: not a run folder, or a damaged line; says its number.
    """
    _require_run(path)
    return [record for _, record in _lines(path / _ROUNDS)]


def read_summary(path: Path) -> dict[str, Any] | None:
    """The result of a run; None while it is not finished.

    Raises:
        RunFolderError: not a run folder, or a damaged summary.
    """
    _require_run(path)
    file = path / _SUMMARY
    if not file.exists():
        return None
    try:
        match json.loads(file.read_bytes()):
            case dict(summary):
                return summary
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{file}: damaged: {error}. Resume the run to write it again.") from error
    raise RunFolderError(f"{file}: damaged: not a JSON object. Resume the run to write it again.")


def default_path(name: str, base: Path = Path("runs")) -> Path:
    """A path for a new run that does not exist yet, e.g. ``runs/2026-11-22-101112-scafcom-digits-s0``."""
    readable = re.sub(r"[^\w.-]+", "-", name).strip("-") or "run"
    path = base / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{readable}"
    candidates = itertools.chain([path], (path.with_name(f"{path.name}-{n}") for n in itertools.count(2)))
    return next(candidate for candidate in candidates if not candidate.exists())


def _require_run(path: Path) -> None:
    if not (path / _CONFIG).is_file():
        raise RunFolderError(f"{path}: not a run folder (no {_CONFIG}). Check the path.")


def _refuse_foreign(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"{path}: is a file; a run needs a folder of its own. Give another name.")
    names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    # A run killed at its very beginning leaves a lock and perhaps a half configuration.
    strangers = names - {_LOCK, _CONFIG + TEMPORARY}
    if strangers and _CONFIG not in names:
        raise RunFolderError(
            f"{path}: holds {min(strangers)!r} and is no run folder; a run needs a new or empty one. "
            "Give another name."
        )


def _refuse_run(path: Path) -> None:
    if (path / _CONFIG).exists():
        if (path / _SUMMARY).exists():
            raise RunFolderError(
                f"{path}: holds a finished run already, with its result in {_SUMMARY}. Give another name."
            )
        raise RunFolderError(
            f"{path}: holds an unfinished run already. Continue it with resume={path}, or give another name."
        )


def _take_lock(path: Path) -> int:
    """The descriptor that holds the lock; closing it gives the lock back."""
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunFolderError(f"{path / _LOCK}: cannot be opened: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise RunFolderError(
            f"{path}: another run has this folder (process {owner}). Stop it, or give another name."
        ) from error
    except OSError as error:
        os.close(lock)
        raise RunFolderError(
            f"{path / _LOCK}: this file system cannot lock files ({error.strerror}). Use a local disk."
        ) from error
    return lock


@contextmanager
def _locking(path: Path) -> Iterator[int]:
    """Take the lock, and give it back if the block fails."""
    lock = _take_lock(path)
    try:
        yield lock
    except OSError as error:
        os.close(lock)
        raise no_room(path, 0, error, "Free some space, or give another name.") from error
    except BaseException:
        os.close(lock)
        raise


def _note_owner(lock: int) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _replace(path: Path, text: str) -> None:
    data = text.encode()
    with replacing(path, len(data)) as file:
        file.write(data)


def _plain(value: object) -> object:
    """A NumPy scalar as JSON can say it."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a record holds {value!r} of type {type(value).__name__}, which JSON cannot say")


def _drop_half_line(file: Path) -> None:
    if file.exists():
        data = file.read_bytes()
        os.truncate(file, data.rfind(b"\n") + 1)


def _lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each whole line's end in bytes and its record, whose ``round`` is an integer."""
    if not file.exists():
        return
    end = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise RunFolderError(
                    f"{file}: line {number} is damaged: {error}. Start a new run."
                ) from error
            if not isinstance(record, dict) or type(record.get("round")) is not int:
                raise RunFolderError(f"{file}: line {number} is no record: it has no round. Start a new run.")
            yield end, record
