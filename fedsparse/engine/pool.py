"""What the engines ask of a pool of workers, and the words between a pool and its dispatcher.

A pool has numbered *seats*. In a seat sits one worker: a process, or a thread of this one. What happens in
the pool is told as events, in order; no method but ``wait`` waits, and ``wait`` never longer than told.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

__all__ = [
    "Arrays",
    "Buried",
    "Died",
    "Done",
    "Event",
    "Failure",
    "Job",
    "Pool",
    "Raised",
    "Ready",
    "Runner",
    "attempt",
]

Arrays = Mapping[str, np.ndarray[Any, Any]]


class Runner(Protocol):
    """What does the work inside a worker; each worker has its own."""

    def __call__(self, shared: Arrays, call: Any) -> Any:
        """Do one block's work; ``shared`` is what all calls of the phase read, and must not be written to."""


class Job(Protocol):
    """The recipe of a runner. It is pickled to workers in other processes, so it holds settings, not data."""

    def build(self, arrays: Arrays, near: bool) -> Runner:
        """Make a worker's runner.

        Args:
            arrays: the big read-only arrays (the data set), mapped or shared, never this worker's own copy.
            near: the worker is on the driver's machine and sees its files.
        """


@dataclass(frozen=True)
class Ready:
    """The worker in ``seat`` takes calls; ``key`` stands for its process, ``name`` is for people."""

    seat: int
    key: Hashable
    near: bool
    name: str


@dataclass(frozen=True)
class Done:
    """The call with this ticket has its result."""

    ticket: Hashable
    result: Any


@dataclass(frozen=True)
class Failure:
    """An exception of a runner: its traceback, and itself where it could travel."""

    text: str
    cause: BaseException | None = None


@dataclass(frozen=True)
class Raised:
    """The call with this ticket raised; without a ticket, building the runner did. The worker lives."""

    ticket: Hashable | None
    failure: Failure


@dataclass(frozen=True)
class Died:
    """The worker in ``seat`` is lost, with all its calls; its process is gone for sure when ``Buried``."""

    seat: int
    reason: str


@dataclass(frozen=True)
class Buried:
    """The process with this key is known to be gone: it writes nothing any more."""

    key: Hashable


Event = Ready | Done | Raised | Died | Buried


class Pool(Protocol):
    """Workers in seats 0 .. size-1. After ``setup`` each answers with ``Ready``, ``Raised`` or ``Died``."""

    @property
    def size(self) -> int:
        """Number of seats."""

    @property
    def common(self) -> bool:
        """Whether whoever is free takes the next call, whatever seat it was submitted to: none waits in vain."""

    @property
    def threads(self) -> bool:
        """Whether workers are threads of this process, which see all of its memory."""

    def setup(self, job: Job, arrays: Arrays) -> None:
        """Send a job to all workers; calls of an earlier job are forgotten. Does not wait."""

    def publish(self, shared: Arrays) -> Any:
        """Put what all calls of a phase read where the workers find it; dropping the handle frees it."""

    def submit(self, seat: int, ticket: Hashable, handle: Any, sent: Any) -> None:
        """Queue a call behind those that the worker in ``seat`` already has."""

    def wait(self, timeout: float) -> Sequence[Event]:
        """All that happened; waits up to ``timeout`` seconds for the first event."""

    def share(self, work: Sequence[Callable[[], None]]) -> None:
        """Do parts of the driver's own work side by side, while the workers have nothing to do."""

    def kill(self, seat: int) -> None:
        """End the worker in ``seat`` for good. Nothing is heard of it again but ``Buried``."""

    def start(self, seat: int) -> bool:
        """Start a worker in an empty seat, without waiting for it; False: there is no machine for it."""

    def close(self) -> None:
        """End all workers and remove what the pool left on the machine. A second call does nothing."""


def attempt(work: Callable[..., Any], *arguments: Any) -> Any | Failure:
    """The result of ``work(*arguments)``, or its exception as a :class:`Failure`."""
    try:
        return work(*arguments)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's code raises is to be reported
        inside = error.__traceback__.tb_next if error.__traceback__ else None
        return Failure("".join(traceback.format_exception(type(error), error, inside)).rstrip(), error)
