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
    x = torch.empty(10_000_000).fill_(1)  # 40 MB: more than glibc keeps by itself
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


def new_pages_of_the_last_round(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout.split()[-1])


@pytest.mark.skipif(not keep_memory(), reason="another C library than glibc")
def test_large_arrays_of_a_thread_get_the_pages_of_earlier_ones():
    kept, left = new_pages_of_the_last_round("keep"), new_pages_of_the_last_round("leave")
    assert kept < 10 < left  # 20 huge pages where the system has them, else 10,000 small ones
