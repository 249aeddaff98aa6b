"""What a round of each strategy costs, as a multiple of FedAvg with the same number of gradients.

    python -m experiments.benchmarks.strategies [NAME ...] [--rounds N]

The model is that of W1 (MLP 784-200-200-10, 50 clients a round with 60 examples each, minibatches of 20), one process
with one thread. All clients train in every round, so that after the warm-up every state exists: the first touch of
memory costs more than the arithmetic on virtual machines. A strategy and FedAvg take turns, round by round; shown is
the median of the ratios of rounds that stood beside each other, so that a machine that slows down slows both.
Strategies are run with their defaults; those with local steps take three. Rounds of rare synchronisations are among
the others, which does not move a median.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields

from experiments.benchmarks.profile_round import examples, mlp
from experiments.benchmarks.turns import against, session
from fedsparse.command import concluded
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
        round_s: median seconds of a round.
        ratio: median of the ratios to FedAvg's rounds.
    """

    name: str
    gradients: int
    round_s: float
    ratio: float


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
    return Cost(name, gradients, round_s, ratio)


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
    print("strategy          gradients  ms a round  x FedAvg", flush=True)
    for name in names or strategies.names():
        try:
            found = cost(name, rounds)
        except ConfigError as error:
            if names:
                raise
            print(f"{name:<18}left out: {error}", flush=True)
            continue
        print(f"{name:<18}{found.gradients:9}{found.round_s * 1e3:12.1f}{found.ratio:10.2f}", flush=True)
    print(f"load {os.getloadavg()[0]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
