"""Mixing of gossip beside a copy of the same memory, on one thread and on two.

    python -m experiments.benchmarks.gossip [--repeat 9] [CASE ...]

Each line is one graph with Metropolis weights on dense float32 messages of all nodes. A copy moves each value once from
memory and once into it, which is the least that mixing has to do; both take turns in one process, and the ratio is
taken within a repetition. Two threads cut copy and mixing by receivers, as an engine's workers do, or mixing by
columns. Parts are the batches in which messages lie, as workers leave them. Whole rounds are measured by

    python -m experiments.benchmarks.speed --workloads W3,W3b
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from time import perf_counter

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from fedsparse.engine.gossip.kernel import mix
from fedsparse.engine.memory import keep_memory
from fedsparse.graphs import Matrices, Topology
from fedsparse.registry import topologies
from fedsparse.words import there_are

__all__ = ["CASES", "Case", "main", "measure"]

SEED, THREADS = 0, 2


@dataclass(frozen=True)
class Case:
    """A graph and the length of a message.

    Attributes:
        topology: its name, and options.
        nodes: n.
        size: d.
        parts: batches of messages.
    """

    topology: str
    nodes: int
    size: int
    parts: int = 4
    options: tuple[tuple[str, int], ...] = ()

    @property
    def title(self) -> str:
        """What the table calls it."""
        return f"{self.topology}, {self.nodes:,} x {self.size:,}, {self.parts} parts"

    def weights(self) -> csr_array:
        """W of its first exchange."""
        made: Topology = topologies.get(self.topology)(**dict(self.options))
        return Matrices(made, self.nodes, seed=SEED).at(0)


CASES = {
    "ring": Case("ring", 64, 199_210),
    "complete": Case("complete", 64, 199_210),
    "regular": Case("random_regular", 4096, 10_000, parts=164, options=(("degree", 8),)),
}
"""Those of the table, by name."""


@dataclass(frozen=True)
class Shares:
    """Bandwidth of mixing as a share of a copy's: on one thread, on two by receivers, on two by columns."""

    copy_s: tuple[float, float]
    one: float
    receivers: float
    columns: float


def measure(case: Case, repetitions: int) -> Shares:
    """Mixes and copies in turn; medians over repetitions."""
    weights, parts = case.weights(), _messages(case)
    out, other = (torch.zeros(case.nodes, case.size) for _ in range(2))
    cuts = np.linspace(0, case.nodes, THREADS + 1).astype(int)
    halves = list(pairwise(cuts))
    rows = [weights[a:b] for a, b in halves]
    with ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,)) as pool:

        def together(work: Sequence[Callable[[], object]]) -> None:
            for done in [pool.submit(part) for part in work]:
                done.result()

        steps: list[Callable[[], object]] = [
            partial(_copy, out, other),
            partial(together, [partial(_copy, out[a:b], other[a:b]) for a, b in halves]),
            partial(mix, weights, parts),
            partial(together, [partial(mix, some, parts) for some in rows]),
            partial(mix, weights, parts, together),
        ]
        taken = [[_seconds(step) for step in steps] for _ in range(1 + repetitions)][1:]
    copies = [statistics.median(row[k] for row in taken) for k in range(2)]
    shares = [
        statistics.median(row[below] / row[k] for row in taken) for k, below in ((2, 0), (3, 1), (4, 1))
    ]
    return Shares((copies[0], copies[1]), *shares)


def _messages(case: Case) -> list[Tensor]:
    draw = np.random.default_rng(SEED)
    rows = torch.from_numpy(draw.standard_normal((case.nodes, case.size), dtype=np.float32))
    return [rows] if case.parts == 1 else [part.clone() for part in rows.tensor_split(case.parts)]


def _copy(source: Tensor, into: Tensor) -> None:
    into.copy_(source)


def _seconds(step: Callable[[], object]) -> float:
    began = perf_counter()
    step()
    return perf_counter() - began


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("gossip", description=__doc__, formatter_class=form)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"all, or some of {', '.join(CASES)}")
    parser.add_argument("--repeat", type=int, default=9, help="repetitions (9)")
    given = parser.parse_args(argv)
    names = given.cases or list(CASES)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        print(f"gossip: {unknown[0]}: there is no such case{there_are(unknown[0], CASES)}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    keep_memory()
    heads = ("copy ms", "on two", "1 thread", "2, receivers", "2, columns")
    print(f"{'share of the bandwidth of a copy':40}" + "".join(f"{head:>14}" for head in heads), flush=True)
    for name in names:
        found = measure(CASES[name], given.repeat)
        copies = "".join(f"{seconds * 1e3:14.2f}" for seconds in found.copy_s)
        shares = "".join(f"{share:14.2f}" for share in (found.one, found.receivers, found.columns))
        print(f"{CASES[name].title:40}{copies}{shares}", flush=True)
    print(f"load {os.getloadavg()[0]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
