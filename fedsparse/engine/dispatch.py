"""Who computes which block, and what happens when a worker is lost.

Calls go to whichever worker is free; results come back in the order of the calls. A worker that dies, or is
silent past its deadline, loses all its calls: they are taken back, prepared anew, and run next. A call that
loses three workers is not bad luck but poison, and ends the run. Nothing here decides a result: a call gives
the same bits wherever and however often it is run.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from fedsparse.engine.pool import Buried, Died, Done, Event, Failure, Pool, Raised, Ready
from fedsparse.errors import FedSparseError, ResourceError, WorkerError, WorkerLost

__all__ = ["Dispatcher"]

C = TypeVar("C")

PATIENCE = 0.5
"""Seconds between two looks at the clocks while nothing happens."""

IN_FLIGHT = 2
"""Calls that a worker has at most: one that runs, and one that waits there so that the worker never does.
Where they wait in one queue for all, there is no limit."""


BRIEF = 0.05
"""Seconds up to which a call is brief: to wait behind another one costs less than the way to an idle worker."""


@dataclass(eq=False)
class _Flight:
    """One attempt at one call; it is its own ticket."""

    call: int
    sent: Any


@dataclass
class _Desk:
    """The worker in one seat, or the one that is being started there (``worker`` is None)."""

    seat: int
    since: float  # when what it does now began: its start, or the first of its flights
    worker: Ready | None = None
    flights: deque[_Flight] = field(default_factory=deque)
    barren: int = 0  # workers lost here in a row that had finished nothing


class _Batch:
    """The calls of one phase: what is still to do, how often each was tried, and what came of it."""

    def __init__(self, calls: Sequence[Any], abandon: Callable[[Any, Hashable], None]) -> None:
        self.calls = calls
        self.abandon = abandon
        self.todo = deque(range(len(calls)))
        self.open = len(calls)
        self.attempts = [0] * len(calls)
        self.deaths: list[list[str]] = [[] for _ in calls]
        self.results: list[Any] = [None] * len(calls)

    def take_back(self, desk: _Desk) -> list[_Flight]:
        """A lost worker's flights, oldest first; their calls are the next to be handed out."""
        flights = list(desk.flights)
        desk.flights.clear()
        for flight in flights:
            self.abandon(flight.sent, desk.worker.key if desk.worker else None)
        self.todo.extendleft(flight.call for flight in reversed(flights))
        return flights


class Dispatcher:
    """Runs calls on a pool that is set up; after an exception, set it up again and make a new dispatcher.

    Args:
        pool: the workers.
        first_deadline: seconds that a worker may take to start, and a call of the first phase to run.
        least_deadline: later a call may take this many seconds ...
        deadline_factor: ... or this many times the slowest call so far, whichever is more.
        tries: workers that one call may lose, and that a seat may lose in a row without finishing any call.
        note: is told of each loss, one line for people.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        first_deadline: float = 300.0,
        least_deadline: float = 60.0,
        deadline_factor: float = 10.0,
        tries: int = 3,
        note: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lost = 0
        self._pool, self._note, self._clock, self._tries = pool, note, clock, tries
        self._first, self._least, self._factor = first_deadline, least_deadline, deadline_factor
        self._deadline = first_deadline
        self._slowest, self._latest = 0.0, math.inf
        self._desks = {seat: _Desk(seat, clock()) for seat in range(pool.size)}
        self._aloft: dict[Hashable, _Desk] = {}

    def run(
        self,
        shared: Mapping[str, np.ndarray[Any, Any]],
        calls: Sequence[C],
        prepare: Callable[[C, int, bool], Any],
        abandon: Callable[[Any, Hashable], None],
        reclaim: Callable[[Hashable], None],
    ) -> list[Any]:
        """Run all calls; the results, in the order of the calls.

        Args:
            shared: arrays that every call reads.
            calls: one per block; ``str(call)`` names it in messages.
            prepare: ``(call, attempt, near)`` -> what is sent; called at each submission, attempt 0, 1, ...
            abandon: ``(sent, key)``: this attempt is lost, but the process ``key`` may still be writing.
            reclaim: ``(key)``: that process is gone. Also told of processes that never abandoned anything.

        Raises:
            WorkerError: a call raised. An error of fedsparse keeps its class.
            ResourceError: a worker ran out of memory.
            WorkerLost: one call lost ``tries`` workers, or no worker is left.
        """
        batch = _Batch(calls, abandon)
        handle = self._pool.publish(shared)
        try:
            while batch.open:
                self._hand_out(batch, handle, prepare)
                for event in self._pool.wait(PATIENCE):
                    self._take(event, batch, reclaim)
                self._check_clocks(batch)
        finally:  # nothing is left in flight, unless the run is given up
            for desk in self._desks.values():
                batch.take_back(desk)
        self._deadline = max(self._least, self._factor * self._slowest)
        return batch.results

    def share(self, work: Sequence[Callable[[], None]]) -> None:
        """Parts of the driver's own work, while no call is in flight; see :meth:`Pool.share`."""
        self._pool.share(work)

    def _hand_out(self, batch: _Batch, handle: Any, prepare: Callable[[Any, int, bool], Any]) -> None:
        while batch.todo:
            ready = [desk for desk in self._desks.values() if desk.worker]
            desk = min(ready, key=lambda desk: (len(desk.flights), desk.seat), default=None)
            # The last calls go only to the idle: none shall wait behind a slow one.
            few = IN_FLIGHT if len(batch.todo) > len(self._desks) or self._latest < BRIEF else 1
            depth = len(batch.calls) if self._pool.common else few
            if desk is None or desk.worker is None or len(desk.flights) >= depth:
                return
            call = batch.todo.popleft()
            flight = _Flight(call, prepare(batch.calls[call], batch.attempts[call], desk.worker.near))
            batch.attempts[call] += 1
            if not desk.flights:
                desk.since = self._clock()
            desk.flights.append(flight)
            self._aloft[flight] = desk
            self._pool.submit(desk.seat, flight, handle, flight.sent)

    def _take(self, event: Event, batch: _Batch, reclaim: Callable[[Hashable], None]) -> None:
        match event:
            case Ready(seat=seat) if seat in self._desks:
                self._desks[seat].worker = event
            case Done(ticket=_Flight() as flight, result=result) if flight in self._aloft:
                self._finish(flight, result, batch)
            case Raised(ticket=None, failure=failure):
                raise _explained(failure, "a worker could not be set up") from failure.cause
            case Raised(ticket=_Flight() as flight, failure=failure) if flight in self._aloft:
                raise _explained(failure, f"{batch.calls[flight.call]} failed") from failure.cause
            case Died(seat=seat, reason=reason) if seat in self._desks:
                self._lose(self._desks[seat], reason, batch)
            case Buried(key=key):
                reclaim(key)
            case _:  # from a run that was given up, or a seat
                pass

    def _finish(self, flight: _Flight, result: Any, batch: _Batch) -> None:
        desk, now = self._aloft.pop(flight), self._clock()
        self._latest = now - desk.since
        self._slowest = max(self._slowest, self._latest)
        desk.since = now  # the next one in flight has only now begun
        desk.flights.remove(flight)
        desk.barren = 0
        batch.results[flight.call] = result
        batch.open -= 1

    def _check_clocks(self, batch: _Batch) -> None:
        for desk in list(self._desks.values()):
            limit = self._deadline if desk.worker else self._first
            if (desk.flights or not desk.worker) and self._clock() - desk.since > limit:
                self._lose(desk, f"killed, silent for {limit:.4g} s (its deadline)", batch)

    def _lose(self, desk: _Desk, reason: str, batch: _Batch) -> None:
        self.lost += 1
        desk.barren += 1
        name = desk.worker.name if desk.worker else f"worker {desk.seat} (starting)"
        self._pool.kill(desk.seat)
        flights = batch.take_back(desk)
        for flight in flights:
            del self._aloft[flight]
        desk.worker, desk.since = None, self._clock()
        again = ", ".join(str(batch.calls[flight.call]) for flight in flights) or "nothing"
        self._note(f"lost {name}: {reason}; runs again: {again}")
        if flights:  # only the first was running; the other waited behind it
            self._blame(flights[0].call, f"{name}: {reason}", batch)
        if desk.barren >= self._tries or not self._pool.start(desk.seat):
            del self._desks[desk.seat]
            self._note(f"worker {desk.seat} is not replaced; {len(self._desks)} left")
        if not self._desks:
            raise WorkerLost(
                f"no worker is left and {batch.open} calls are unfinished; lost last was {name}: {reason}"
            )

    def _blame(self, call: int, death: str, batch: _Batch) -> None:
        deaths = batch.deaths[call]
        deaths.append(death)
        if len(deaths) >= self._tries:
            raise WorkerLost(
                f"{batch.calls[call]} has lost {len(deaths)} workers and is given up: {'; '.join(deaths)}. "
                "If they died for memory, use smaller blocks (engine.block) or fewer workers; if they were only slow, "
                "smaller blocks"
            )


def _explained(failure: Failure, what: str) -> FedSparseError:
    cause = failure.cause
    if isinstance(cause, FedSparseError):
        return type(cause)(f"{what}: {cause}")
    if isinstance(cause, MemoryError):
        return ResourceError(
            f"{what}: out of memory; use smaller blocks or fewer workers, or have clients' states on a disk "
            f"(engine.state_dir)\n{failure.text}"
        )
    return WorkerError(f"{what} on a worker:\n{failure.text}")
