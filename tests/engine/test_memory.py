"""Memory that a round gives back stays with the process."""

import subprocess
import sys

import pytest

from fedsparse.engine.memory import keep_memory

PROGRAM = """
import resource, sys, threading
import torch
from fedsparse.engine.memory import keep_memory
if sys.argv[1] == "keep":
    keep_memory()

def round():
    x = [torch.empty(10_000_000).fill_(1) for _ in range(int(sys.argv[2]))]  # 40 MB: more than glibc keeps by itself
    del x

def rounds():
    for _ in range(20):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        round()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=rounds)
thread.start()
thread.join()
"""


def new_pages_of_the_last_round(how: str, arrays: int) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how, str(arrays)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return int(done.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not keep_memory(), reason="another C library than glibc")
@pytest.mark.parametrize("arrays", [1, 3], ids=["one heap", "several heaps"])
def test_large_arrays_of_a_thread_get_the_pages_of_earlier_ones(arrays: int):
    kept, left = (new_pages_of_the_last_round(how, arrays) for how in ("keep", "leave"))
    assert kept < 10 < left  # 20 huge pages an array where the system has them, else 10,000 small ones
