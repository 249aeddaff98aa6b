"""What a round of each strategy costs, as a multiple of FedAvg with the same number of gradients.

    python -m experiments.benchmarks.strategies [NAME ...] [--rounds N]

The model is that of W1 (MLP 784-200-200-10, 50 clients a round with 60 examples each, minibatches of 20), one process
with one thread. All clients train in every round, so that after the warm-up every state exists: the first touch of
memory costs more than the arithmetic on virtual machines. A strategy and FedAvg take turns, round by round; shown is
the median of the ratios of rounds that stood beside each other, so that a machine that slows down slows both.
Strategies are run with their defaults; those with local steps take three. Rounds of rare synchronisations are among
the others, which does not move a median.

The last two columns say what cannot be saved: the vectors of d values in a client's state, and what FedAvg's round
would take if it copied them, too. Selecting, rounding and drawing random numbers come on top.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from time import thread_time

import torch

from experiments.benchmarks.profile_round import examples, mlp
from experiments.benchmarks.turns import against, session
from fedsparse.command import concluded
from fedsparse.engine.session import first_rows
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
        vectors: of d values, in a client's state.
        least: the ratio of FedAvg's round, and a copy of all clients' states, to FedAvg's round.
    """

    name: str
    gradients: int
    round_s: float
    ratio: float
    vectors: float
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
        size = own.workload.start.x.numel()
        states, _ = first_rows(own.engine.plan, own.workload)
    vectors = sum(row.size for row in states.values()) / size
    return Cost(name, gradients, round_s, ratio, vectors, 1 + vectors * _copy_s(size) * ratio / round_s)


def _copy_s(size: int) -> float:
    """Median of the processor's seconds for copying a vector of each client."""
    source, into = torch.zeros(2, CLIENTS, size)
    taken = []
    for _ in range(9):
        began = thread_time()
        into.copy_(source)
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
    print("strategy          gradients  ms a round  x FedAvg   vectors     least", flush=True)
    for name in names or strategies.names():
        try:
            found = cost(name, rounds)
        except ConfigError as error:
            if names:
                raise
            print(f"{name:<18}left out: {error}", flush=True)
            continue
        measured = f"{found.round_s * 1e3:12.1f}{found.ratio:10.2f}{found.vectors:10.1f}{found.least:10.2f}"
        print(f"{name:<18}{found.gradients:9}{measured}", flush=True)
    print(f"load {os.getloadavg()[0]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
