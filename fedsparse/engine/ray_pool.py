"""Workers as Ray actors: processes of this machine, or of a cluster, that may die without harm."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedsparse.engine.arrays import ArrayFiles
from fedsparse.engine.host import Asked, Hello, Host, OnShelf
from fedsparse.engine.letters import Letters
from fedsparse.engine.memory import give_back_memory, keep_memory
from fedsparse.engine.place import choose_folder
from fedsparse.engine.pool import Arrays, Buried, Died, Done, Event, Failure, Job, Raised, Ready
from fedsparse.engine.ray_session import RaySession
from fedsparse.engine.shelves import Shelves
from fedsparse.errors import ResourceError
from fedsparse.process import alive

__all__ = ["RayPool"]

FETCH = 60.0
"""Seconds for a result that is ready to arrive from another machine."""

BURIAL = 0.02
"""Seconds between two looks at a process that was killed."""

GRACE = 5.0
"""Seconds that workers get to end by themselves when the pool is closed."""


@dataclass
class _Seat:
    """A place for a worker: a node's id, or None for this machine; and who sits there."""

    place: str | None
    actor: Any = None
    hello: Hello | None = None  # None until it has answered
    letters: Letters = field(default_factory=Letters)


@dataclass(frozen=True)
class _Job:
    """References to what every new worker is sent."""

    recipe: Any
    near: Any
    far: Any


class _Published:
    """What all calls of a phase read: on a shelf for workers of this machine, in Ray's store for others."""

    def __init__(self, shared: Arrays, shelves: Shelves | None, store: Callable[[Any], Any]) -> None:
        self._shared, self._store, self._reference = dict(shared), store, None
        parcel = shelves.put(list(shared.values())) if shelves is not None else None
        self._shelf = None if parcel is None else OnShelf(tuple(shared), parcel)
        if shelves is not None and parcel is not None:
            weakref.finalize(self, shelves.free, [parcel.shelf]).atexit = False

    def arguments(self, sent: Any, near: bool, done: list[int]) -> tuple[Any, ...]:
        """Of a call that is ``sent``."""
        if near and self._shelf is not None:
            return (Asked(sent, self._shelf, done),)
        if self._reference is None:
            self._reference = self._store(self._shared)
        return Asked(sent, None, done), self._reference


class RayPool:
    """Ray actors, one runner each. A :class:`~fedsparse.engine.pool.Pool`.

    The constructor returns while the workers are still importing: build the data set meanwhile. Ray replaces
    the process's handler of SIGTERM; install your own afterwards.

    Args:
        workers: how many; None for one per CPU, of this machine or of the cluster.
        address: ``host:port`` of a running cluster, one of whose machines this is; None starts a Ray here,
            which ends with the pool.
        store: bytes of shared memory for what is published and for results, of a Ray of our own.
        preload: modules that workers import in advance.

    Raises:
        ConfigError: the address or the number of workers make no sense.
        ResourceError: Ray cannot be started, does not answer, or has too few free CPUs.
    """

    common = False
    threads = False

    def __init__(
        self,
        workers: int | None = None,
        address: str | None = None,
        *,
        store: int = 256 << 20,
        preload: Sequence[str] = (),
        accelerated: bool = False,
    ) -> None:
        self._session = RaySession(workers, address, store, "GPU" if accelerated else "CPU")
        import ray  # after its settings are in the environment

        self._ray: Any = ray
        self._actor: Any = ray.remote(
            num_cpus=1, num_gpus=int(accelerated), max_restarts=0, max_task_retries=0
        )(Host)
        self._greeting = (tuple(preload), [str(Path(entry).absolute()) for entry in sys.path])
        self._files = ArrayFiles()
        self._folder = _folder_in_memory(store)
        self._shelves = None if self._folder is None else Shelves(self._folder, "published")
        self._job: _Job | None = None
        self._seats = [_Seat(place) for place in self._session.places]
        self._open: dict[
            Any, tuple[int, Hashable | None]
        ] = {}  # reference -> seat and ticket; a setup has none
        self._events: list[Event] = []
        self._dying: list[Hello] = []
        self._closed = False
        self.size = len(self._seats)
        atexit.register(self.close)
        for seat in self._seats:
            self._create(seat)
        import torch  # while the workers do

        keep_memory()
        self._torch_threads = torch.get_num_threads()
        torch.set_num_threads(1)  # bits depend on it, here as in the workers
        self._helpers = ThreadPoolExecutor(
            min(len(self._session.places), len(os.sched_getaffinity(0))),
            thread_name_prefix="fedsparse-helper",
            initializer=torch.set_num_threads,
            initargs=(1,),
        )

    def setup(self, job: Job, arrays: Arrays) -> None:
        """Send a job to all workers, and the arrays: here as mapped files, to other machines through Ray.

        Raises:
            ResourceError: there is no room for the arrays.
        """
        self._open.clear()
        self._events.clear()
        here = {None, self._session.node}
        far = self._put(dict(arrays)) if any(seat.place not in here for seat in self._seats) else None
        self._job = _Job(self._put(job), self._files.place(arrays), far)
        for number, seat in enumerate(self._seats):
            if seat.actor is not None:
                self._send_job(number, self._job)
            elif not self.start(number):
                self._events.append(Died(number, "its machine is gone"))

    def publish(self, shared: Arrays) -> Any:
        """A handle; the arrays are written once, and workers of a machine read the same memory."""
        return _Published(shared, self._shelves, self._put)

    def submit(self, seat: int, ticket: Hashable, handle: Any, sent: Any) -> None:
        """Queue a call at an actor.

        Raises:
            ResourceError: what is published does not fit into Ray's store.
        """
        worker = self._seats[seat]
        arguments = handle.arguments(sent, self._here(worker), worker.letters.done())
        self._open[worker.actor.run.remote(*arguments)] = seat, ticket

    def wait(self, timeout: float) -> Sequence[Event]:
        """What happened, in the order in which it was asked for."""
        events = self._events + self._bury()
        self._events = []
        patience = 0.0 if events else min(timeout, BURIAL) if self._dying else timeout
        if not self._open:
            time.sleep(min(patience, BURIAL))
            return events
        done, _ = self._ray.wait(list(self._open), num_returns=1, timeout=patience)
        if done and len(self._open) > 1:
            done, _ = self._ray.wait(list(self._open), num_returns=len(self._open), timeout=0)
        # A worker that died takes its later calls with it: they are no longer open when their turn comes.
        return events + [self._event(reference) for reference in done if reference in self._open]

    def share(self, work: Sequence[Callable[[], None]]) -> None:
        """On threads of the driver, as the workers have nothing to do."""
        for _ in self._helpers.map(_do, work):
            pass

    def kill(self, seat: int) -> None:
        """Kill an actor, and its process, which may live on for seconds after Ray believes it dead."""
        worker = self._seats[seat]
        self._forget(seat)
        if worker.actor is not None:
            self._ray.kill(worker.actor, no_restart=True)
        if worker.hello is not None and self._near(worker.hello):
            _kill(worker.hello)
            self._dying.append(worker.hello)
        worker.actor = worker.hello = None

    def start(self, seat: int) -> bool:
        """Start an actor in an empty seat, on the seat's machine; False when that is gone."""
        worker = self._seats[seat]
        if not self._session.living(worker.place):
            return False
        self._create(worker)
        if self._job is not None:
            self._send_job(seat, self._job)
        return True

    def close(self) -> None:
        """End the workers, and Ray if it is ours; remove the files. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._open.clear()
        self._job = None
        left = self._dying + [seat.hello for seat in self._seats if seat.hello and self._near(seat.hello)]
        for seat in self._seats:
            if seat.actor is not None and not self._session.own:
                self._ray.kill(seat.actor, no_restart=True)
            seat.actor = None
        self._session.close()
        _await_end(left)
        self._files.close()
        for seat in self._seats:
            seat.letters.close()
        if self._shelves and self._folder:
            self._shelves.close()
            shutil.rmtree(self._folder, ignore_errors=True)
        self._helpers.shutdown()
        import torch

        torch.set_num_threads(self._torch_threads)
        give_back_memory()

    def _create(self, seat: _Seat) -> None:
        options: dict[str, Any] = {}
        if seat.place is not None:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(seat.place, soft=False)
        seat.actor = self._actor.options(**options).remote(*self._greeting)
        seat.hello = None

    def _send_job(self, number: int, job: _Job) -> None:
        seat = self._seats[number]
        near = self._here(seat)
        seat.letters.close()
        seat.letters = Letters()
        shelves = self._folder if near else None
        reference = seat.actor.setup.remote(job.recipe, job.near if near else job.far, near, shelves)
        self._open[reference] = number, None

    def _event(self, reference: Any) -> Event:
        seat, ticket = self._open.pop(reference)
        try:
            value = self._ray.get(reference, timeout=FETCH)
        except (
            self._ray.exceptions.RayTaskError
        ) as error:  # first: it may also be any other class of exception
            return Raised(ticket, Failure(_plain(str(error))))
        except self._ray.exceptions.RayError as error:
            self._forget(seat)
            return Died(seat, self._reason(error, seat))
        if isinstance(value, Failure):
            return Raised(ticket, value)
        if ticket is None:
            return self._ready(seat, value)
        return Done(ticket, self._seats[seat].letters.open(value))

    def _ready(self, seat: int, hello: Hello) -> Ready:
        self._seats[seat].hello = hello
        near = hello.node == self._session.node
        where = "" if near else f" on node {hello.node[:8]}"
        return Ready(seat, hello, near, f"worker {seat} (pid {hello.pid}{where})")

    def _here(self, seat: _Seat) -> bool:
        """Whether its worker is, or will be, on this machine."""
        return seat.place in {None, self._session.node}

    def _forget(self, seat: int) -> None:
        self._open = {reference: owner for reference, owner in self._open.items() if owner[0] != seat}

    def _near(self, hello: Hello) -> bool:
        return hello.node == self._session.node and hello.start is not None

    def _bury(self) -> list[Event]:
        """Those killed here whose process is gone; of other machines it is not known, and does not matter."""
        gone = [hello for hello in self._dying if not _alive(hello)]
        self._dying = [hello for hello in self._dying if hello not in gone]
        return [Buried(hello) for hello in gone]

    def _put(self, value: Any) -> Any:
        try:
            return self._ray.put(value)
        except (self._ray.exceptions.ObjectStoreFullError, self._ray.exceptions.OutOfDiskError) as error:
            raise ResourceError(
                f"Ray's object store is full: {_plain(str(error))}; make it larger, or the cohort smaller"
            ) from error

    def _reason(self, error: Exception, seat: int) -> str:
        hello, text = self._seats[seat].hello, _plain(str(error))
        if hello and self._near(hello) and (name := self._session.signal(hello.pid)):
            return f"died of {name}"
        if isinstance(error, self._ray.exceptions.ActorUnavailableError):
            return "its machine does not answer"
        if "running low on memory" in text:
            return "killed by Ray, because the machine is running low on memory"
        if "connection error code 2" in text:
            return "killed without a last word, as by SIGKILL or by the system when memory is short"
        return text.strip().splitlines()[-1]


def _do(part: Callable[[], None]) -> None:
    part()


def _folder_in_memory(expected: int) -> Path | None:
    """A new folder in shared memory, if there is room for so many bytes."""
    folder = choose_folder(None, expected, Path(tempfile.gettempdir()))
    if folder.is_relative_to(Path("/", "dev", "shm")):
        return folder
    folder.rmdir()
    return None


def _alive(hello: Hello) -> bool:
    return hello.start is not None and alive(hello.pid, hello.start)


def _kill(hello: Hello) -> None:
    if _alive(hello):
        with suppress(ProcessLookupError):  # it may end in between
            os.kill(hello.pid, signal.SIGKILL)


def _await_end(left: list[Hello]) -> None:
    """See the processes end, by force if need be: the caller will remove the files that they write to."""
    until = time.monotonic() + GRACE
    while any(_alive(hello) for hello in left) and time.monotonic() < until:
        time.sleep(BURIAL)
    for hello in left:
        _kill(hello)
    while any(_alive(hello) for hello in left) and time.monotonic() < until + GRACE:
        time.sleep(BURIAL)


def _plain(text: str) -> str:
    """Without Ray's colours."""
    return re.sub(r"\x1b\[\d+m", "", text)
