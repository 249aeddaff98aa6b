"""Jobs for the tests of the pools; in a module of their own, so that workers can import them."""

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fedsparse.errors import ProtocolError


@dataclass(frozen=True)
class Toy:
    """Sums blocks of ``arrays["data"]``; a call is (what, block or argument).

    What a call does once is remembered by a file in ``folder``.
    """

    folder: str = ""

    def build(self, arrays, near):
        return Toiler(self, arrays, near)


class Toiler:
    def __init__(self, job, arrays, near):
        self.job, self.arrays, self.near = job, arrays, near

    def __call__(self, shared, call):
        what, argument = call
        return getattr(self, what)(shared, argument)

    def total(self, shared, block):
        return float(self.arrays["data"][block].sum() * shared["scale"][0])

    def slow_total(self, shared, block):
        time.sleep(1)
        return self.total(shared, block)

    def large(self, shared, block):
        return np.full(200_000, float(block))

    def who(self, shared, seconds):
        time.sleep(seconds)
        return os.getpid(), torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS"), self.near

    def data(self, shared, argument):
        data = self.arrays["data"]
        return type(data).__name__, data.flags.writeable, str(getattr(data, "filename", None))

    def writeable(self, shared, argument):
        return shared["scale"].flags.writeable

    def fail(self, shared, error):
        if error == "protocol":
            raise ProtocolError("'dx' has shape [3]; [2] is allowed")
        if error == "memory":
            raise MemoryError
        if error == "exit":
            raise SystemExit(3)
        raise ValueError(error)

    def sleep(self, shared, seconds):
        time.sleep(seconds)
        return seconds

    def sleep_elsewhere(self, shared, seconds):
        time.sleep(0.05 if threading.current_thread() is threading.main_thread() else seconds)

    def thread(self, shared, seconds):
        time.sleep(seconds)
        return threading.current_thread().name

    def die_once(self, shared, block):
        if self._first(f"die-{block}"):
            os.kill(os.getpid(), signal.SIGKILL)
        return self.total(shared, block)

    def die(self, shared, number):
        os.kill(os.getpid(), number)

    def stop_once(self, shared, block):
        if self._first(f"stop-{block}"):
            os.kill(os.getpid(), signal.SIGSTOP)
        return self.total(shared, block)

    def _first(self, name):
        try:
            Path(self.job.folder, name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


@dataclass(frozen=True)
class Broken:
    def build(self, arrays, near):
        raise ValueError("no such model")
