"""From the start of the command to its first finished round, beside the least that Ray and torch take.

    python -m experiments.benchmarks.startup [--repeat 5]

Programs run in turn, so that a change of the machine's speed meets all of them; medians and the pairwise differences
are what counts. "Ray, bare" starts Ray with as many actors, imports torch in each, and asks them once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

WORKERS = 2

BARE_RAY = f"""
import os
os.environ.update(RAY_worker_niceness="0", OMP_NUM_THREADS="1", RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")
import ray
ray.init(address="local", num_cpus={WORKERS}, include_dashboard=False, log_to_driver=False,
         object_store_memory=256 << 20)
@ray.remote(num_cpus=1)
class Actor:
    def __init__(self):
        import torch
    def ping(self):
        return 1
actors = [Actor.remote() for _ in range({WORKERS})]
import torch
ray.get([a.ping.remote() for a in actors])
print("round 1", flush=True)
"""

RUN = ["-m", "fedsparse.run", "strategy=scafcom", "clients=100", "rounds=1", f"engine.workers={WORKERS}"]
PROGRAMS = {
    "torch, bare": ["-c", "import torch; print('round 1', flush=True)"],
    "fedsparse, local": [*RUN, "engine=local"],
    "Ray, bare": ["-c", BARE_RAY],
    "fedsparse, Ray": [*RUN, "engine=ray"],
}


def seconds_to_first_round(arguments: list[str]) -> float:
    """Seconds until the program prints its first line about a round."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command = [sys.executable, *arguments]
        with subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        ) as running:
            assert running.stdout is not None
            for line in running.stdout:
                if line.startswith("round 1"):
                    taken = time.perf_counter() - began
                    running.stdout.read()
                    return taken
        raise SystemExit(f"{command} ended without a round")


def main() -> None:
    """Prints the table."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("startup", description=__doc__, formatter_class=form)
    parser.add_argument("--repeat", type=int, default=5, help="times that each program runs")
    repetitions = parser.parse_args().repeat
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(repetitions):
        for name, arguments in PROGRAMS.items():
            taken[name].append(seconds_to_first_round(arguments))
    print(f"{'program':20} {'median s':>9} {'least':>7} {'most':>7}")
    for name, values in taken.items():
        print(f"{name:20} {statistics.median(values):9.2f} {min(values):7.2f} {max(values):7.2f}")
    for ours, bare in (("fedsparse, local", "torch, bare"), ("fedsparse, Ray", "Ray, bare")):
        differences = [a - b for a, b in zip(taken[ours], taken[bare], strict=True)]
        print(f"{ours} minus {bare}: median {statistics.median(differences):.2f} s")


if __name__ == "__main__":
    main()
