"""Workers as threads of this process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from fedsparse.engine.memory import give_back_memory, keep_memory
from fedsparse.engine.pool import Arrays, Done, Event, Failure, Job, Raised, Ready, Runner, attempt
from fedsparse.errors import ConfigError, WorkerLost

__all__ = ["LocalPool"]

GRACE = 60.0
"""Seconds that ``close`` waits for the blocks that are being computed; a thread cannot be killed."""

_SWITCH = 5e-4
"""Seconds after which a thread that wants the interpreter's lock gets it; the products of a block take tenths of a
millisecond each, so that with Python's own 5 ms a thread would wait as long as for a dozen of them."""


@dataclass(frozen=True, eq=False)
class _Setup:
    """A job, of which each worker makes its own runner when it takes its first call."""

    job: Job
    arrays: Arrays


_Task: TypeAlias = Callable[[int], None]
"""What a worker takes from the queue; it is told its seat."""


class LocalPool:
    """The calling thread and others beside it, one runner each. A :class:`~fedsparse.engine.pool.Pool`.

    The calling thread computes while it waits, so that one worker needs no thread. All take their calls from one
    queue. torch computes with one thread per worker while the pool is open: the bits depend on it. Several workers take
    turns at the interpreter more often than its threads otherwise do.

    Args:
        workers: number of threads that compute.

    Raises:
        ConfigError: fewer than one worker.
    """

    common = True
    threads = True

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ConfigError(f"{workers} workers; at least 1 is needed")
        import torch  # whoever only wants --help does not pay for torch

        keep_memory()
        self.size = workers
        self._before: tuple[int, float] | None = torch.get_num_threads(), sys.getswitchinterval()
        torch.set_num_threads(1)
        if workers > 1:
            sys.setswitchinterval(_SWITCH)
        self._setup: _Setup | None = None
        self._runners: dict[int, tuple[_Setup, Runner]] = {}
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._events: SimpleQueue[Event] = SimpleQueue()
        # Daemons: a process that forgot to close its pool, or is interrupted twice, must be able to end.
        self._threads = [
            threading.Thread(target=self._work, args=(seat,), name=f"fedsparse-worker-{seat}", daemon=True)
            for seat in range(1, workers)
        ]
        for thread in self._threads:
            thread.start()

    def setup(self, job: Job, arrays: Arrays) -> None:
        """Begin a job; calls that have not begun are forgotten."""
        _drain(self._tasks)
        self._setup = _Setup(job, arrays)
        for seat in range(self.size):
            self._events.put(Ready(seat, ("thread", seat), near=True, name=f"thread {seat}"))

    def publish(self, shared: Arrays) -> Arrays:
        """The arrays themselves: threads see them."""
        return shared

    def submit(self, seat: int, ticket: Hashable, handle: Arrays, sent: Any) -> None:  # noqa: ARG002 - any will do
        """Queue a call for whoever is free."""
        if self._setup is not None:
            self._tasks.put(partial(self._answer, self._setup, ticket, handle, sent))

    def wait(self, timeout: float) -> Sequence[Event]:
        """What happened; while nothing has, computes a call here, and waits only when there is none."""
        if not self._events.empty() or not self._help():
            return self._next(timeout)
        return _drain(self._events)

    def share(self, work: Sequence[Callable[[], None]]) -> None:
        """Run parts of the driver's own work on all workers; calls must not be in flight."""
        if not self._threads or len(work) == 1:
            for part in work:
                part()
            return
        finished: SimpleQueue[Any] = SimpleQueue()
        for part in work:
            self._tasks.put(partial(_do, part, finished))
        while self._help():
            pass
        for result in [finished.get() for _ in work]:
            if isinstance(result, Failure) and result.cause is not None:
                raise result.cause

    def kill(self, seat: int) -> None:
        """Give up: a thread cannot be killed.

        Raises:
            WorkerLost: always.
        """
        raise WorkerLost(
            f"thread {seat} is silent past its deadline, and threads cannot be killed; make "
            "blocks smaller (engine.block) if it is only slow, or use Ray workers, which are replaced when they hang"
        )

    def start(self, seat: int) -> bool:  # noqa: ARG002 - a pool's method
        """False: no thread ever dies, so none is replaced."""
        return False

    def close(self) -> None:
        """Cancel what is queued, let blocks being computed finish, and give back memory and the process's settings."""
        if self._before is None:
            return
        _drain(self._tasks)
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(GRACE)
        import torch

        threads, switch = self._before
        torch.set_num_threads(threads)
        sys.setswitchinterval(switch)
        self._before = None
        self._setup, self._runners = None, {}
        give_back_memory()

    def _help(self) -> bool:
        """The calling thread's part of the work; False: nothing is to do."""
        try:
            task = self._tasks.get_nowait()
        except Empty:
            return False
        if task is not None:
            task(0)
        return True

    def _next(self, timeout: float) -> list[Event]:
        try:
            first = self._events.get(timeout=timeout)
        except Empty:
            return []
        return [first, *_drain(self._events)]

    def _work(self, seat: int) -> None:
        import torch

        torch.set_num_threads(1)  # some back ends keep it per thread
        while task := self._tasks.get():
            task(seat)
            del task  # and what it holds: that is the server's alone now

    def _answer(self, setup: _Setup, ticket: Hashable, shared: Arrays, sent: Any, seat: int) -> None:
        self._events.put(self._compute(setup, ticket, shared, sent, seat))

    def _compute(self, setup: _Setup, ticket: Hashable, shared: Arrays, sent: Any, seat: int) -> Event:
        known = self._runners.get(seat)
        if known is None or known[0] is not setup:
            built = attempt(setup.job.build, setup.arrays, True)
            if isinstance(built, Failure):
                return Raised(None, built)
            known = self._runners[seat] = setup, built
        result = attempt(known[1], shared, sent)
        return Raised(ticket, result) if isinstance(result, Failure) else Done(ticket, result)


def _do(part: Callable[[], None], finished: SimpleQueue[Any], seat: int) -> None:
    del seat
    finished.put(attempt(part))


def _drain(queue: SimpleQueue[Any]) -> list[Any]:
    """Take what is in the queue now."""
    taken: list[Any] = []
    while True:
        try:
            taken.append(queue.get_nowait())
        except Empty:
            return taken
