"""What a round of each strategy costs, as a multiple of FedAvg with the same number of gradients.

    python -m experiments.benchmarks.strategies [NAME ...] [--rounds N]

The model is that of W1 (MLP 784-200-200-10, 50 clients a round with 60 examples each, minibatches of 20), one process
with one thread. All clients train in every round, so that after the warm-up every state exists: the first touch of
memory costs more than the arithmetic on virtual machines. A strategy and FedAvg take turns, round by round; shown is
the median of the ratios of rounds that stood beside each other, so that a machine that slows down slows both.
Strategies are run with their defaults; those with local steps take three. Rounds of rare synchronisations are among
the others, which does not move a median.

The last columns say what can hardly be saved: the vectors of d values in a client's state, those that it compresses
in a round, and what FedAvg's round would take if the former were copied in it and the latter compressed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from time import thread_time

import numpy as np
import torch

from experiments.benchmarks.profile_round import examples, mlp
from experiments.benchmarks.turns import against, session
from fedsparse.command import concluded
from fedsparse.engine.eligible import eligible_of
from fedsparse.engine.exchange import context_of
from fedsparse.engine.session import Session, first_rows
from fedsparse.errors import ConfigError
from fedsparse.protocol import Strategy
from fedsparse.registry import strategies
from fedsparse.strategies.fedavg import FedAvg

__all__ = ["Cost", "cost", "main"]

CLIENTS, BATCH, STEPS, LR = 50, 20, 3, 0.01
WARM_UP = 4


@dataclass(frozen=True)
class Cost:
    """What rounds of a strategy took.

    Attributes:
        name: its name.
        gradients: of a client in a round.
        round_s: median of the processor's seconds for a round.
        ratio: median of the ratios to FedAvg's rounds.
        kept: vectors of d values in a client's state.
        compressed: vectors that a client compresses in a round.
        least: the ratio of FedAvg's round, with the former copied and the latter compressed beside it, to FedAvg's.
    """

    name: str
    gradients: int
    round_s: float
    ratio: float
    kept: float
    compressed: float
    least: float


def cost(name: str, rounds: int) -> Cost:
    """Measures a strategy beside FedAvg.

    Raises:
        ConfigError: it cannot be run on this model.
    """
    held, model, until = examples(CLIENTS, (784,)), mlp(784, 200), rounds + WARM_UP
    with session(_small(name), held, model, until, batch=BATCH) as own:
        gradients = [own.engine.round(number).gradient_calls for number in range(WARM_UP)][-1] // CLIENTS
        fedavg = FedAvg(lr=LR, steps=gradients)
        with session(fedavg, held, model, until, batch=BATCH) as other:
            for number in range(WARM_UP):
                other.engine.round(number)
            round_s, ratio = against(own, other, range(WARM_UP, until))
        kept, compressed, more_s = _beside(own)
    return Cost(name, gradients, round_s, ratio, kept, compressed, 1 + more_s * ratio / round_s)


def _beside(run: Session) -> tuple[float, float, float]:
    """Vectors in a client's state, those that it compresses in a round, and the seconds of copying and compressing."""
    plan, workload = run.engine.plan, run.workload
    size = workload.start.x.numel()
    kept = sum(row.size for row in first_rows(plan, workload, eligible_of(plan, workload))[0].values()) / size
    every_round = [sent for sent in plan.strategy.communication(size) if sent.round is None]
    compressed = sum(sent.up_compressed * sent.probability for sent in every_round)
    source = torch.randn(CLIENTS, size, generator=torch.Generator().manual_seed(0))
    into = torch.zeros_like(source)
    more_s = kept * _seconds(lambda: into.copy_(source))
    uplink = getattr(plan.strategy, "uplink", None)
    if compressed and uplink is not None:
        ctx = context_of(plan, workload, eligible_of(plan, workload), 0, "trial", np.arange(CLIENTS))
        more_s += compressed * _seconds(lambda: uplink.compress(source, ctx))
    return kept, compressed, more_s


def _seconds(work: Callable[[], object]) -> float:
    """Median of the processor's seconds that something takes."""
    taken = []
    for _ in range(9):
        began = thread_time()
        work()
        taken.append(thread_time() - began)
    return statistics.median(taken)


def _small(name: str) -> Strategy:
    """The strategy with a small step, and three local steps if it has any."""
    cls = strategies.get(name)
    given = {"lr": LR, "steps": STEPS}
    made: Strategy = cls(**{field.name: given[field.name] for field in fields(cls) if field.name in given})
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("strategies", description=__doc__, formatter_class=form)
    parser.add_argument("names", nargs="*", help="strategies (all)")
    parser.add_argument("--rounds", type=int, default=20, help="timed rounds of each (20)")
    given = parser.parse_args(argv)
    return concluded(lambda: _table(given.names, given.rounds), verbose=False, only_shows=True)


def _table(names: Sequence[str], rounds: int) -> int:
    print("strategy          gradients  ms a round  x FedAvg   kept  compressed   least", flush=True)
    for name in names or strategies.names():
        try:
            found = cost(name, rounds)
        except ConfigError as error:
            if names:
                raise
            print(f"{name:<18}left out: {error}", flush=True)
            continue
        times = f"{found.round_s * 1e3:12.1f}{found.ratio:10.2f}"
        bound = f"{found.kept:7.1f}{found.compressed:12.1f}{found.least:8.2f}"
        print(f"{name:<18}{found.gradients:9}{times}{bound}", flush=True)
    print(f"load {os.getloadavg()[0]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
