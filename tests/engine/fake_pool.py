"""A pool on a virtual clock, whose workers die, hang and dawdle exactly when a test says so."""

from dataclasses import dataclass, field

from fedsparse.engine.pool import Buried, Died, Done, Failure, Raised, Ready

DIE = "die"
HANG = "hang"
BURIAL = 5.0  # seconds from a kill until the process is gone


@dataclass
class Worker:
    """Calls are (number, attempt); ``since`` is when the first of them began."""

    key: str
    ready_at: float
    since: float = 0.0
    calls: list = field(default_factory=list)


class FakePool:
    """``act(number, attempt, seat)`` says what a call does: seconds, DIE, HANG, or an exception.

    Results are ten times the call's number. ``births(seat, n)`` says how the n-th worker of a seat starts: seconds,
    DIE, or HANG; False where there is no machine for it any more.
    """

    common = False

    def __init__(self, size, act=lambda number, attempt, seat: 1.0, births=lambda seat, n: 0.0):
        self.size, self.now = size, 0.0
        self._act, self._births = act, births
        self._born = [0] * size
        self._workers: dict[int, Worker] = {}
        self._graves: dict[str, float] = {}
        self._stillborn: dict[int, float] = {}
        self.log: list = []  # submissions: (seat, number, attempt)
        self.published: list = []
        for seat in range(size):
            self.start(seat)

    def clock(self):
        return self.now

    def publish(self, shared):
        self.published.append(shared)
        return len(self.published)

    def start(self, seat):
        birth = self._births(seat, self._born[seat])
        if birth is False:
            return False
        key = f"{seat}.{self._born[seat]}"
        self._born[seat] += 1
        if birth == DIE:
            self._stillborn[seat] = self.now
        else:
            self._workers[seat] = Worker(key, float("inf") if birth == HANG else self.now + birth)
        return True

    def submit(self, seat, ticket, handle, sent):
        worker = self._workers[seat]
        assert len(worker.calls) < 2, "at most two in flight"
        if not worker.calls:
            worker.since = self.now
        worker.calls.append((ticket, *sent))
        self.log.append((seat, *sent))

    def share(self, work):
        for part in work:
            part()

    def kill(self, seat):
        worker = self._workers.pop(seat, None)
        self._stillborn.pop(seat, None)
        if worker:
            self._graves[worker.key] = self.now + BURIAL

    def wait(self, timeout):
        assert timeout > 0
        coming = sorted(self._coming(), key=lambda pair: pair[0])
        if not coming or coming[0][0] > self.now + timeout:
            self.now += timeout
            return []
        self.now = max(self.now, coming[0][0])
        return [happen() for when, happen in coming if when <= self.now]

    def _coming(self):
        for key, when in self._graves.items():
            yield when, lambda key=key: self._bury(key)
        for seat, when in self._stillborn.items():
            yield when, lambda seat=seat: self._die(seat)
        for seat, worker in self._workers.items():
            if worker.ready_at is not None:
                yield worker.ready_at, lambda seat=seat: self._ready(seat)
            elif worker.calls:
                _, number, attempt = worker.calls[0]
                what = self._act(number, attempt, seat)
                if isinstance(what, Exception):
                    yield worker.since, lambda seat=seat, what=what: self._raise(seat, what)
                elif what == DIE:
                    yield worker.since, lambda seat=seat: self._die(seat)
                elif what != HANG:
                    yield worker.since + what, lambda seat=seat: self._finish(seat)

    def _bury(self, key):
        del self._graves[key]
        return Buried(key)

    def _die(self, seat):
        self._stillborn.pop(seat, None)
        if seat in self._workers:
            self._workers[seat].calls.clear()
        return Died(seat, "killed by the test")

    def _ready(self, seat):
        worker = self._workers[seat]
        worker.ready_at = None
        return Ready(seat, worker.key, near=seat == 0, name=f"worker {worker.key}")

    def _finish(self, seat):
        worker = self._workers[seat]
        ticket, number, _ = worker.calls.pop(0)
        worker.since = self.now
        return Done(ticket, number * 10)

    def _raise(self, seat, error):
        worker = self._workers[seat]
        ticket, *_ = worker.calls.pop(0)
        worker.since = self.now
        return Raised(ticket, Failure(f"Traceback ...\n{error!r}", error))
