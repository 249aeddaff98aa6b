"""Ray actors as workers: real processes, really killed. One Ray for all tests; each test sets up its own job."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from toy_job import Broken, Toy

from fedsparse.engine.dispatch import Dispatcher
from fedsparse.engine.ray_pool import RayPool
from fedsparse.errors import ConfigError, ProtocolError, ResourceError, WorkerError, WorkerLost

pytestmark = pytest.mark.ray

DATA = np.random.default_rng(3).standard_normal((8, 5))
SCALE = {"scale": np.array([2.0])}
TOTALS = [2 * float(row.sum()) for row in DATA]


def data_folders():
    places = [Path("/dev", "shm"), Path(tempfile.gettempdir())]
    return [path for place in places for path in place.glob(f"fedsparse-*-{os.getpid()}-*")]


@pytest.fixture(scope="module")
def ray_pool():
    before = set(psutil.Process().children(recursive=True))
    with (
        tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_ADDRESS", "192.0.2.1:6379")  # nobody's; must not be asked
        patch.setenv("OMP_NUM_THREADS", "8")
        environment = stable_environment()
        pool = RayPool(2, store=80 << 20)
        children = set(psutil.Process().children(recursive=True)) - before
        yield pool
        children |= set(psutil.Process().children(recursive=True)) - before
        pool.close()
        pool.close()
        assert stable_environment() == environment
        assert list(Path(folder).iterdir()) == []
        assert data_folders() == []
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def stable_environment():
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


class Desk:
    """A fresh dispatcher on the pool, and a book of what it told."""

    def __init__(self, pool, job, **options):
        self.notes, self.abandoned, self.reclaimed = [], [], []
        pool.setup(job, {"data": DATA})
        self.pool = pool
        self.dispatcher = Dispatcher(pool, note=self.notes.append, **options)

    def run(self, calls):
        abandon = lambda sent, key: self.abandoned.append((sent, key))  # noqa: E731
        return self.dispatcher.run(SCALE, calls, lambda call, *_: call, abandon, self.reclaimed.append)

    def workers(self):
        """What one call on each worker says of it; by process."""
        return {who[0]: who for who in self.run([("who", 0.3)] * 4)}


@pytest.fixture
def desk(ray_pool, tmp_path):
    return Desk(ray_pool, Toy(str(tmp_path)))


TOTAL_CALLS = [("total", block) for block in range(8)]


def test_results_are_in_the_order_of_the_calls(desk):
    assert desk.run(TOTAL_CALLS) == TOTALS


def test_large_results_arrive_whole(desk):
    results = desk.run([("large", block) for block in range(5)])
    assert [float(result.sum()) for result in results] == [200_000.0 * block for block in range(5)]


def test_workers_are_two_other_processes_with_one_thread_each(desk):
    found = desk.workers()
    assert len(found) == 2
    assert os.getpid() not in found
    assert {who[1:] for who in found.values()} == {(1, "1", True)}


def test_the_data_set_is_one_mapped_file_for_all_workers(desk):
    assert len(set(desk.run([("data", None)] * 6))) == 1
    kind, writeable, filename = desk.run([("data", None)])[0]
    assert (kind, writeable) == ("memmap", False)
    assert Path(filename).is_file()


def test_a_mapped_array_is_opened_where_it_lies(ray_pool, tmp_path):
    np.save(tmp_path / "data.npy", DATA)
    ray_pool.setup(Toy(), {"data": np.load(tmp_path / "data.npy", mmap_mode="r")})
    dispatcher = Dispatcher(ray_pool)
    found = dispatcher.run(SCALE, [("data", None)], lambda call, *_: call, lambda *_: None, lambda _: None)
    assert found == [("memmap", False, str(tmp_path / "data.npy"))]


def test_what_calls_share_cannot_be_written_to(desk):
    assert desk.run([("writeable", None)]) == [False]


def test_an_exception_carries_the_workers_traceback_and_is_not_retried(desk):
    with pytest.raises(
        WorkerError, match=r"\('fail', 'bad lr'\) failed(.|\n)*toy_job.py(.|\n)*ValueError: bad lr"
    ):
        desk.run([("fail", "bad lr")])
    assert desk.dispatcher.lost == 0


@pytest.mark.parametrize(("error", "kind"), [("protocol", ProtocolError), ("memory", ResourceError)])
def test_errors_keep_their_class_on_their_way(desk, error, kind):
    with pytest.raises(kind):
        desk.run([("fail", error)])


def test_a_job_that_cannot_be_built_is_an_error(ray_pool):
    with pytest.raises(WorkerError, match=r"could not be set up(.|\n)*no such model"):
        Desk(ray_pool, Broken()).run(TOTAL_CALLS)


def test_a_pool_goes_on_after_a_failed_run(ray_pool, desk, tmp_path):
    with pytest.raises(WorkerError):
        desk.run([("fail", "x"), ("sleep", 0.3), ("sleep", 0.3), ("sleep", 0.3)])
    assert Desk(ray_pool, Toy(str(tmp_path))).run(TOTAL_CALLS) == TOTALS


def test_a_killed_worker_changes_no_result(desk):
    began = time.monotonic()
    calls = [("die_once", block) if block == 3 else ("total", block) for block in range(8)]
    assert desk.run(calls) == TOTALS
    assert time.monotonic() - began < 10
    assert desk.dispatcher.lost == 1
    assert "killed without a last word" in desk.notes[0]
    assert "('die_once', 3)" in desk.notes[0]


def test_slots_of_a_killed_worker_come_back_when_it_is_gone(desk):
    desk.run([("die_once", 0), ("total", 1), ("total", 2)])
    desk.run([("sleep", 0.1)])
    assert {key for _, key in desk.abandoned} == set(desk.reclaimed)
    assert not psutil.pid_exists(desk.reclaimed[0].pid)


def test_a_stopped_worker_is_killed_after_its_deadline(ray_pool, tmp_path):
    desk = Desk(ray_pool, Toy(str(tmp_path)), least_deadline=1.0, deadline_factor=0.0)
    desk.run(TOTAL_CALLS)
    assert desk.run([("stop_once", 0), ("total", 1)]) == TOTALS[:2]
    assert "silent for 1 s" in desk.notes[0]
    desk.run([("sleep", 0.1)])
    assert {key for _, key in desk.abandoned} == set(desk.reclaimed)
    assert not psutil.pid_exists(desk.reclaimed[0].pid)


def test_a_worker_killed_between_two_runs_is_replaced(desk):
    victim, *_ = desk.workers()
    os.kill(victim, signal.SIGKILL)
    assert desk.run(TOTAL_CALLS) == TOTALS


def test_poison_names_the_call_and_the_signal(ray_pool, tmp_path):
    desk = Desk(ray_pool, Toy(str(tmp_path)), tries=2)
    with pytest.raises(
        WorkerLost, match=rf"\('die', {int(signal.SIGBUS)}\) has lost 2 workers .*died of SIGBUS"
    ):
        desk.run([("die", int(signal.SIGBUS))])


def test_a_second_ray_in_one_process_is_refused(ray_pool):
    with pytest.raises(ResourceError, match="already in use"):
        RayPool(1)


def test_ray_client_addresses_are_refused():
    with pytest.raises(ConfigError, match="Ray Client"):
        RayPool(1, "ray://10.0.0.1:10001")


@pytest.mark.parametrize(
    ("address", "kind", "text"),
    [
        ("127.0.0.1:9", ResourceError, "nobody answers at '127.0.0.1:9'"),
        ("somewhere", ConfigError, "give host:port"),
        ("127.0.0.1:123456", ResourceError, "nobody answers"),
    ],
)
def test_an_address_without_a_cluster_is_an_error_at_once(address, kind, text):
    began = time.monotonic()
    with pytest.raises(kind, match=text):
        RayPool(1, address)
    assert time.monotonic() - began < 10


def test_ray_is_started_on_the_main_thread_only():
    caught = []

    def start():
        try:
            RayPool(1)
        except ResourceError as error:
            caught.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(10)
    assert "main thread" in caught[0]


def test_importing_the_pool_imports_neither_ray_nor_torch():
    check = "import sys, fedsparse.engine.ray_pool; sys.exit(bool({'ray', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], timeout=60, check=False).returncode == 0
