"""Runs side by side: each is carried out as a whole by one process, with one thread."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from fedsparse.config import RunConfig
from fedsparse.errors import Diverged, FedSparseError, Interrupted, WorkerError, WorkerLost
from fedsparse.interrupts import Interrupts

__all__ = ["HERE", "Work", "carried_out"]

HERE = ("engine=local", "engine.workers=1", "quiet=true")
"""Where all runs take place; results do not depend on it."""

_DIVERGED = "diverged"
_LOOK_S = 0.2


@dataclass(frozen=True)
class Work:
    """A run that is to be there.

    Attributes:
        label: what it is called while it runs.
        path: its folder.
        config: what it is.
        tuning: how its values were chosen, see :class:`fedsparse.tuning.Tuned`.
    """

    label: str
    path: Path
    config: RunConfig
    tuning: Mapping[str, Any] | None = None

    @property
    def diverged(self) -> bool:
        """Whether it ended because a model was no longer finite."""
        return (self.path / _DIVERGED).exists()

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do.

        Raises:
            RunFolderError: the folder has a run of another configuration.
        """
        from fedsparse.runfolder import read_summary
        from fedsparse.tuning.tuner import check_same

        if not (self.path / "config.yaml").exists():
            return False
        check_same(self.path, self.config)
        return self.diverged or read_summary(self.path) is not None

    def do(self) -> None:
        """Begins the run, or goes on with it.

        Raises:
            FedSparseError: it failed, other than by diverging.
        """
        from fedsparse import config as configuration
        from fedsparse.recorded import run

        begun = (self.path / "config.yaml").exists()
        config = configuration.parse([*HERE, f"resume={self.path}"]) if begun else self.config
        try:
            run(config, tuning=self.tuning)
        except Diverged as error:
            (self.path / _DIVERGED).write_text(f"{error}\n", encoding="utf-8")


def carried_out(works: Sequence[Work], jobs: int, note: Callable[[str], None]) -> None:
    """Does what is not done, up to ``jobs`` runs at a time.

    Args:
        works: the runs.
        jobs: processes; with one, this process does it all.
        note: is told what is done.

    Raises:
        Interrupted: a signal stopped it after whole rounds.
        FedSparseError: one failed; the others were stopped.
    """
    missing = [work for work in works if not work.done]
    if len(works) > len(missing):
        note(f"{len(works) - len(missing)} of {len(works)} runs are there")
    if jobs == 1 or len(missing) < 2:
        _one_by_one(missing, note)
    else:
        _Crew(missing, jobs, note).go()


def _one_by_one(works: Sequence[Work], note: Callable[[str], None]) -> None:
    for number, work in enumerate(works, start=1):
        try:
            work.do()
        except Interrupted as error:
            raise Interrupted(
                f"{work.label}: {str(error).partition(';')[0]}; the same command goes on"
            ) from None
        note(_line(number, len(works), work))


def _line(number: int, of: int, work: Work) -> str:
    return f"[{number}/{of}] {work.label}" + (": diverged" if work.diverged else "")


class _Hand:
    """A process that does one run after the other."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.work: Work | None = None

    def give(self, work: Work) -> None:
        self.work = work
        self.line.send(work)

    def answer(self) -> FedSparseError | None:
        """What became of its run: ``None`` where it is done."""
        work, self.work = self.work, None
        assert work is not None  # noqa: S101 - it is asked only where it has one
        try:
            found: FedSparseError | None = self.line.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode
            return WorkerLost(
                f"{work.label}: its process ended with {code}; the same command goes on with it"
            )
        return found

    def stop(self) -> None:
        if self.work is not None and self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGINT)

    def close(self) -> None:
        self.line.close()
        if self.work is not None:
            self.process.kill()
        self.process.join()


class _Crew:
    """Several hands that share runs."""

    def __init__(self, works: Sequence[Work], jobs: int, note: Callable[[str], None]) -> None:
        self._waiting = deque(works)
        self._of, self._done, self._note = len(works), 0, note
        self._hands = [_Hand() for _ in range(min(jobs, len(works)))]
        self._failed: FedSparseError | None = None
        self._stopped = False

    def go(self) -> None:
        with Interrupts(self._kill) as interrupts:
            try:
                for hand in self._hands:
                    hand.give(self._waiting.popleft())
                while busy := {hand.line: hand for hand in self._hands if hand.work is not None}:
                    for line in wait(list(busy), _LOOK_S):
                        self._take(busy[line])  # type: ignore[index]
                    if interrupts.asked is not None or self._failed is not None:
                        self._stop()
            finally:
                for hand in self._hands:
                    hand.close()
        if interrupts.asked is not None:
            raise Interrupted(f"stopped by {interrupts.asked.name}; the same command goes on")
        if self._failed is not None:
            raise self._failed

    def _kill(self) -> None:
        for hand in self._hands:
            hand.process.kill()

    def _take(self, hand: _Hand) -> None:
        work, failed = hand.work, hand.answer()
        if failed is not None:
            self._failed = self._failed or failed
            return
        assert work is not None  # noqa: S101 - it is busy
        self._done += 1
        self._note(_line(self._done, self._of, work))
        if self._waiting:
            hand.give(self._waiting.popleft())

    def _stop(self) -> None:
        self._waiting.clear()
        if not self._stopped:
            self._stopped = True
            for hand in self._hands:
                hand.stop()


def _serve(line: Connection) -> None:
    """The life of a hand; it ends when there is nobody to answer to."""
    from fedsparse.process import die_with_parent

    os.setsid()  # Ctrl-C is for the first process, which tells us
    die_with_parent()
    with Interrupts(lambda: None):  # hands on to a run what it is told before that has begun
        while True:
            try:
                work = line.recv()
            except (EOFError, OSError):
                return
            line.send(_outcome(work))


def _outcome(work: Work) -> FedSparseError | None:
    try:
        work.do()
    except FedSparseError as error:
        return error
    except Exception as error:  # noqa: BLE001 - whoever waits for us has to know
        return WorkerError(f"{work.label}: {error!r}\n{''.join(traceback.format_exception(error))}")
    return None
