"""Runs side by side: each is carried out as a whole by one process, with one thread."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait

from fedsparse.errors import FedSparseError, Interrupted, WorkerError, WorkerLost
from fedsparse.experiment.works import Work
from fedsparse.interrupts import Interrupts

__all__ = ["Crew"]

_LOOK_S = 0.2


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


class Crew:
    """Several processes that share runs.

    Args:
        works: what is to be done, at least one.
        jobs: processes.
        note: is told what is done.
    """

    def __init__(self, works: Sequence[Work], jobs: int, note: Callable[[str], None]) -> None:
        self._waiting = deque(works)
        self._of, self._done, self._note = len(works), 0, note
        self._hands = [_Hand() for _ in range(min(jobs, len(works)))]
        self._failed: FedSparseError | None = None
        self._stopped = False

    def go(self) -> None:
        """Does it all.

        Raises:
            Interrupted: a signal stopped it after whole rounds.
            FedSparseError: a run failed; the others were stopped.
        """
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
        self._note(work.line(self._done, self._of))
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
