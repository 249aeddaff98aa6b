"""Workers as threads of this process: they start at once, and the kernels of torch run without Python's lock.

With one worker there is no thread: calls run in ``wait``, on the caller's stack, where a debugger finds them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from fedsparse.engine.pool import Arrays, Done, Event, Failure, Job, Raised, Ready, Runner, attempt
from fedsparse.errors import ConfigError, WorkerLost

__all__ = ["LocalPool"]

GRACE = 60.0
"""Seconds that ``close`` waits for the blocks that are being computed; a thread cannot be killed."""


class LocalPool:
    """Threads in this process, one runner each. A :class:`~fedsparse.engine.pool.Pool`.

    torch computes with one thread per worker while the pool is open: the bits depend on it.

    Args:
        workers: number of threads; 1 computes in the calling thread.

    Raises:
        ConfigError: fewer than one worker.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ConfigError(f"{workers} workers; at least 1 is needed")
        import torch  # whoever only wants --help does not pay for torch

        self.size = workers
        self._torch_threads: int | None = torch.get_num_threads()
        torch.set_num_threads(1)
        self._runners: dict[int, Runner] = {}
        self._inboxes: list[SimpleQueue[Callable[[], Event] | None]] = [SimpleQueue() for _ in range(workers)]
        self._events: SimpleQueue[Event] = SimpleQueue()
        # Daemons: a process that forgot to close its pool, or is interrupted twice, must be able to end.
        names = [f"fedsparse-worker-{seat}" for seat in range(workers)] if workers > 1 else []
        self._threads = [
            threading.Thread(target=self._work, args=(seat,), name=name, daemon=True)
            for seat, name in enumerate(names)
        ]
        for thread in self._threads:
            thread.start()

    def setup(self, job: Job, arrays: Arrays) -> None:
        """Have each thread build its runner; calls that have not begun are forgotten."""
        for seat, inbox in enumerate(self._inboxes):
            _drain(inbox)
            inbox.put(partial(self._build, seat, job, arrays))

    def publish(self, shared: Arrays) -> Arrays:
        """The arrays themselves: threads see them."""
        return shared

    def submit(self, seat: int, ticket: Hashable, handle: Arrays, sent: Any) -> None:
        """Queue a call for a thread."""
        self._inboxes[seat].put(partial(self._run, seat, ticket, handle, sent))

    def wait(self, timeout: float) -> Sequence[Event]:
        """What happened; with one worker, what happens now: the next call is computed here."""
        if not self._threads:
            return [task() for task in _drain(self._inboxes[0], limit=1) if task]
        try:
            first = self._events.get(timeout=timeout)
        except Empty:
            return []
        return [first, *_drain(self._events)]

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
        """Cancel what is queued, let the blocks being computed finish, and give torch its threads back."""
        if self._torch_threads is None:
            return
        for inbox in self._inboxes:
            _drain(inbox)
            inbox.put(None)
        for thread in self._threads:
            thread.join(GRACE)
        import torch

        torch.set_num_threads(self._torch_threads)
        self._torch_threads = None

    def _work(self, seat: int) -> None:
        import torch

        torch.set_num_threads(1)  # some back ends keep it per thread
        while task := self._inboxes[seat].get():
            self._events.put(task())

    def _build(self, seat: int, job: Job, arrays: Arrays) -> Event:
        built = attempt(job.build, arrays, True)
        if isinstance(built, Failure):
            return Raised(None, built)
        self._runners[seat] = built
        return Ready(seat, ("thread", seat), near=True, name=f"thread {seat}")

    def _run(self, seat: int, ticket: Hashable, shared: Arrays, sent: Any) -> Event:
        result = attempt(self._runners[seat], shared, sent)
        return Raised(ticket, result) if isinstance(result, Failure) else Done(ticket, result)


def _drain(queue: SimpleQueue[Any], limit: int | None = None) -> deque[Any]:
    """Take what is in the queue now, ``limit`` things at most."""
    taken: deque[Any] = deque()
    while limit is None or len(taken) < limit:
        try:
            taken.append(queue.get_nowait())
        except Empty:
            break
    return taken
