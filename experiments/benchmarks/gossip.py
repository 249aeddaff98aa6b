"""Mixing of gossip beside a copy of the same memory, on one thread and on two.

    python -m experiments.benchmarks.gossip [--repeat 9] [CASE ...]

Each line is one graph with Metropolis weights on dense float32 messages of all nodes. What is measured is a worker's
way from messages to mixed models: messages lie in the blocks in which clients train, and one block after another, or
two side by side on the workers of a run, mixes what it has heard. A copy moves each value once from memory and once
into it, which is the least that mixing has to do; both take turns in one process, and the ratio is taken within a
repetition. Beside it stands how receivers of the first block were summed. Whole rounds are measured by

    python -m experiments.benchmarks.speed --workloads W3,W3b
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from fedsparse import models
from fedsparse.cohort.batched import Batched
from fedsparse.engine.gossip.edges import Edges
from fedsparse.engine.gossip.inbox import NeighbourInbox
from fedsparse.engine.gossip.mail import Post
from fedsparse.engine.local import LocalPool
from fedsparse.engine.session import default_block
from fedsparse.graphs import Matrices, Topology
from fedsparse.message import Dense
from fedsparse.registry import topologies
from fedsparse.words import there_are

__all__ = ["CASES", "Case", "main", "measure"]

SEED, INPUTS, BATCH = 0, 784, 32


@dataclass(frozen=True)
class Case:
    """A graph whose nodes train a network of two hidden layers.

    Attributes:
        topology: its name.
        nodes: n.
        hidden: width of both layers.
        options: of the topology.
    """

    topology: str
    nodes: int
    hidden: int
    options: tuple[tuple[str, int], ...] = ()

    def edges(self) -> Edges:
        """The links of its first exchange."""
        made: Topology = topologies.get(self.topology)(**dict(self.options))
        return Edges.of(Matrices(made, self.nodes, seed=SEED).at(0))

    def sizes(self) -> tuple[int, int]:
        """Values of a message, and clients of a block."""
        net = models.build("mlp", (INPUTS,), 10, SEED, hidden=(self.hidden, self.hidden))
        model = Batched(net, torch.zeros(2, INPUTS))
        return model.layout.size, default_block(self.nodes, model.client_bytes(BATCH))


CASES = {
    "ring": Case("ring", 64, 200),
    "complete": Case("complete", 64, 200),
    "regular": Case("random_regular", 4096, 12, options=(("degree", 8),)),
}
"""Those of the table, by name."""


@dataclass(frozen=True)
class Shares:
    """What was measured of a case.

    Attributes:
        title: what it is.
        copy_s: seconds of a copy, on one thread and on two.
        shares: bandwidth of mixing as a share of that of the copy, likewise.
        ways: how the receivers of the first block were summed.
    """

    title: str
    copy_s: tuple[float, float]
    shares: tuple[float, float]
    ways: Sequence[str]


def measure(case: Case, repetitions: int) -> Shares:
    """Mixes and copies in turn; medians over repetitions."""
    size, block = case.sizes()
    everybody = np.arange(case.nodes)
    blocks = np.array_split(everybody, -(-case.nodes // block))
    draw = np.random.default_rng(SEED)
    parts = [torch.from_numpy(draw.standard_normal((len(ids), size), dtype=np.float32)) for ids in blocks]
    edges = case.edges()
    post = Post(edges, np.ones(len(edges), dtype=bool), everybody, ("latest",), {})
    letters = {"x": [Dense(part) for part in parts]}
    inboxes = [partial(NeighbourInbox, mail, letters, {}, {}, {}) for mail in post.cut(blocks)]
    mixing = [partial(_mix, inbox) for inbox in inboxes]
    out, other = (torch.zeros(case.nodes, size) for _ in range(2))
    halves = list(pairwise((0, case.nodes // 2, case.nodes)))
    copying = [partial(_copy, out[a:b], other[a:b]) for a, b in halves]
    alone, both = LocalPool(1), LocalPool(2)
    try:
        steps = [partial(pool.share, work) for work in (copying, mixing) for pool in (alone, both)]
        taken = [[_seconds(step) for step in steps] for _ in range(1 + repetitions)][1:]
    finally:
        both.close()
        alone.close()
    return Shares(
        f"{case.topology}, {case.nodes:,} x {size:,}, blocks of {len(blocks[0])}",
        (statistics.median(row[0] for row in taken), statistics.median(row[1] for row in taken)),
        (
            statistics.median(row[0] / row[2] for row in taken),
            statistics.median(row[1] / row[3] for row in taken),
        ),
        inboxes[0]().ways("x"),
    )


def _mix(inbox: Callable[[], NeighbourInbox]) -> None:
    inbox().mix("x")


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
    heads = ("copy ms", "on two", "1 thread", "2 threads")
    print(f"{'share of the bandwidth of a copy':44}" + "".join(f"{head:>11}" for head in heads), flush=True)
    for name in names:
        found = measure(CASES[name], given.repeat)
        copies = "".join(f"{seconds * 1e3:11.2f}" for seconds in found.copy_s)
        shares = "".join(f"{share:11.2f}" for share in found.shares)
        print(f"{found.title:44}{copies}{shares}   {'; '.join(found.ways)}", flush=True)
    print(f"load {os.getloadavg()[0]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
