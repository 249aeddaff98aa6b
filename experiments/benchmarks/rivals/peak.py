"""What the machine's matrix product reaches at this moment, on one thread and on two: GFLOP/s in float32."""

from __future__ import annotations

import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import torch

SIDE = 2048
REPETITIONS = 7


def _rate(threads: int) -> float:
    """Median GFLOP/s of ``threads`` Python threads that each multiply matrices of their own."""
    sets = [(torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE), torch.empty(SIDE, SIDE)) for _ in range(threads)]
    rates = []
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for _ in range(1 + REPETITIONS):
            began = time.perf_counter()
            list(pool.map(lambda s: torch.mm(s[0], s[1], out=s[2]), sets))
            rates.append(threads * 2 * SIDE**3 / (time.perf_counter() - began) / 1e9)
    return statistics.median(rates[1:])


def main() -> None:
    """Prints both rates, by number of threads."""
    torch.set_num_threads(1)
    print(json.dumps([_rate(1), _rate(2)]))


if __name__ == "__main__":
    main()
