"""Threads as workers."""

import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_job import Broken, Toy

from fedsparse.engine.dispatch import Dispatcher
from fedsparse.engine.local import LocalPool
from fedsparse.errors import ConfigError, ProtocolError, ResourceError, WorkerError, WorkerLost

DATA = np.random.default_rng(3).standard_normal((8, 5))
SCALE = {"scale": np.array([2.0])}


@pytest.fixture(params=[1, 3])
def pool(request):
    pool = LocalPool(request.param)
    pool.setup(Toy(), {"data": DATA})
    yield pool
    pool.close()


def run(pool, calls, **options):
    dispatcher = Dispatcher(pool, **options)
    return dispatcher.run(SCALE, calls, lambda call, attempt, near: call, lambda *_: None, lambda _: None)


def worker_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("fedsparse-worker")]


def test_results_are_in_the_order_of_the_calls(pool):
    assert run(pool, [("total", block) for block in range(8)]) == [2 * float(row.sum()) for row in DATA]


def test_torch_computes_with_one_thread_in_each_worker(pool):
    assert {who[1] for who in run(pool, [("who", 0)] * 6)} == {1}


def test_torch_has_its_threads_back_after_close():
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        LocalPool(2).close()
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_threads_take_turns_more_often_until_close():
    before = sys.getswitchinterval()
    pool = LocalPool(2)
    assert sys.getswitchinterval() < before
    pool.close()
    assert sys.getswitchinterval() == before


def test_one_worker_needs_no_thread():
    pool = LocalPool(1)
    pool.setup(Toy(), {"data": DATA})
    run(pool, [("total", 0)])
    assert worker_threads() == []
    pool.close()


def test_the_calling_thread_is_one_of_the_workers():
    pool = LocalPool(2)
    pool.setup(Toy(), {"data": DATA})
    names = set(run(pool, [("thread", 0.02)] * 20))
    assert names == {threading.current_thread().name, "fedsparse-worker-1"}
    pool.close()


def test_no_call_waits_behind_a_slow_one():
    pool = LocalPool(2)
    pool.setup(Patient(), {})
    assert run(pool, range(11)) == [True] * 11
    pool.close()


class Patient:
    """Call 0 ends when ten others have, or in vain."""

    def __init__(self):
        self.done = threading.Semaphore(0)

    def build(self, arrays, near):
        return lambda shared, call: self.all_done() if call == 0 else self.done.release() is None

    def all_done(self):
        return all(self.done.acquire(timeout=10) for _ in range(10))


def test_threads_share_the_arrays_and_do_not_copy_them(pool):
    pool.setup(Identity(), {"data": DATA})
    assert run(pool, [0] * 4) == [id(DATA)] * 4


class Identity:
    def build(self, arrays, near):
        return lambda shared, call: id(arrays["data"])


def test_an_exception_carries_its_traceback_and_the_call(pool):
    with pytest.raises(
        WorkerError, match=r"\('fail', 'bad lr'\) failed (.|\n)*toy_job.py(.|\n)*bad lr"
    ) as caught:
        run(pool, [("fail", "bad lr")])
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_traceback_begins_in_the_job(pool):
    with pytest.raises(WorkerError) as caught:
        run(pool, [("fail", "bad lr")])
    assert "pool.py" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "kind"), [("protocol", ProtocolError), ("memory", ResourceError), ("exit", WorkerError)]
)
def test_errors_have_their_class(pool, error, kind):
    with pytest.raises(kind):
        run(pool, [("fail", error)])


def test_a_job_that_cannot_be_built_is_an_error(pool):
    pool.setup(Broken(), {})
    with pytest.raises(WorkerError, match=r"could not be set up(.|\n)*no such model"):
        run(pool, [("total", 0)])


def test_a_pool_goes_on_after_a_failed_run(pool):
    with pytest.raises(WorkerError):
        run(pool, [("total", 0), ("fail", "x"), ("total", 1), ("total", 2)])
    pool.setup(Toy(), {"data": DATA})
    assert run(pool, [("total", 0)]) == [2 * float(DATA[0].sum())]


def test_a_silent_thread_ends_the_run_with_advice():
    pool = LocalPool(2)
    pool.setup(Toy(), {"data": DATA})
    with pytest.raises(WorkerLost, match=r"thread \d is silent past its deadline"):
        run(pool, [("sleep_elsewhere", 1.0)] * 8, first_deadline=0.2)
    pool.close()


def test_close_cancels_what_is_queued_and_lets_the_running_blocks_finish():
    pool = LocalPool(2)
    pool.setup(Toy(), {"data": DATA})
    for seat in (0, 1):
        for _ in range(50):
            pool.submit(seat, object(), SCALE, ("sleep", 0.1))
    began = time.monotonic()
    pool.close()
    assert time.monotonic() - began < 3  # of 5 seconds
    assert worker_threads() == []


INTERRUPTED = """
import os, signal, sys, threading
sys.path.insert(0, sys.argv[1])
from test_local_pool import DATA, LocalPool, Toy, run
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background has it ignored
pool = LocalPool(2)
pool.setup(Toy(), {"data": DATA})
threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
try:
    run(pool, [("sleep", 0.5)] * 100)
except KeyboardInterrupt:
    pool.close()
    print("closed", len(pool._threads), any(thread.is_alive() for thread in pool._threads))
"""


def test_an_interrupt_ends_the_run_after_the_running_blocks():
    arguments = [sys.executable, "-c", INTERRUPTED, str(Path(__file__).parent)]
    done = subprocess.run(arguments, timeout=30, capture_output=True, text=True, check=True)
    assert done.stdout == "closed 1 False\n"


def test_parts_of_the_drivers_work_are_all_done(pool):
    done = []
    pool.share([partial(done.append, number) for number in range(20)])
    assert sorted(done) == list(range(20))


def test_parts_of_the_drivers_work_run_side_by_side():
    pool, barrier = LocalPool(2), threading.Barrier(2)
    pool.share([partial(barrier.wait, 5)] * 2)
    pool.close()


def test_an_exception_in_a_part_of_the_drivers_work_is_the_drivers(pool):
    def bad():
        raise ValueError("columns")

    with pytest.raises(ValueError, match="columns"):
        pool.share([lambda: None, bad, lambda: None])
    pool.share([lambda: None] * 3)


def test_a_second_close_does_nothing(pool):
    pool.close()
    pool.close()


def test_no_workers_is_an_error():
    with pytest.raises(ConfigError, match="0 workers; at least 1"):
        LocalPool(0)
