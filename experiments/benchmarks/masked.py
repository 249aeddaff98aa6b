"""What a round on a mask costs, as a multiple of a dense one with the same number of gradients.

    python -m experiments.benchmarks.masked [CASE ...] [--rounds N]

The model is that of W2 (the CNN of McMahan et al., 1,663,370 parameters), on 10 clients with 60 examples each, three
steps of minibatches of 20, a tenth of the weights, one process with one thread. A masked run and FedAvg take turns,
round by round; shown is the median of the ratios of rounds that stood beside each other. Masked arithmetic is dense
arithmetic with zeros, so what is measured is what masks cost, not what they could save. ``set`` moves its mask in
every round, and ``gmp`` prunes in every round; ``srste`` and ``sparcl`` find a mask for every client in every step;
``spdf`` is in its sparse half. ``dsl``, which is about embedding tables, has a recurrent model instead, with sequences
of 20 among 2,000 symbols.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import numpy as np
from torch import nn

from experiments.benchmarks.profile_round import examples
from experiments.benchmarks.turns import against, session
from fedsparse import models
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.trainer import Trainer
from fedsparse.data.holdings import Stored
from fedsparse.protocol import Strategy
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.random_mask import RandomMask
from fedsparse.trainers.dsl import DSL
from fedsparse.trainers.gmp import GMP
from fedsparse.trainers.rigl import RigL
from fedsparse.trainers.s2ft import S2FT
from fedsparse.trainers.sara import SaRA
from fedsparse.trainers.set import SET
from fedsparse.trainers.sparcl import SparCL
from fedsparse.trainers.spdf import SPDF
from fedsparse.trainers.srste import SRSTE
from fedsparse.words import there_are

__all__ = ["CASES", "main", "ratio"]

CLIENTS, BATCH, STEPS, LR, DENSITY = 10, 20, 3, 0.01, 0.1
WARM_UP = 2

DENSE = FedAvg(lr=LR, steps=STEPS)

CASES: dict[str, tuple[Strategy, Trainer | None]] = {
    "random_mask": (RandomMask(lr=LR, steps=STEPS, density=DENSITY), None),
    "set": (DENSE, SET(density=DENSITY)),
    "sara": (DENSE, SaRA(share=DENSITY)),
    "s2ft": (DENSE, S2FT(share=DENSITY)),
    "rigl": (DENSE, RigL(density=DENSITY)),
    "dsl": (DENSE, DSL(density=DENSITY)),
    "spdf": (DENSE, SPDF(density=DENSITY, sparse=1.0)),
    "gmp": (DENSE, GMP(density=DENSITY)),
    "sparcl": (DENSE, SparCL(density=DENSITY)),
    "srste": (DENSE, SRSTE()),
}
"""A strategy with a mask of its own, and trainers of FedAvg."""


def images() -> tuple[Examples, nn.Module]:
    """Random ones, and the CNN."""
    return examples(CLIENTS, (1, 28, 28)), models.build("cnn", (1, 28, 28), 10, 0)


def sequences() -> tuple[Examples, nn.Module]:
    """Random ones, of which the next symbol is to be said, and a model with a table of 128,000 weights."""
    symbols, count = 2000, 60 * CLIENTS
    x = np.random.default_rng(0).integers(symbols, size=(count, 21))
    inputs, targets = x[:, :-1], x[:, 1:]
    held = Stored(np.arange(count), np.arange(0, count + 1, 60))
    model = models.build("charmodel", (20,), symbols, 0, embedding=64)
    return Examples(inputs, targets, inputs[:10], targets[:10], held), model


def ratio(case: str, rounds: int) -> tuple[float, float]:
    """Median seconds of a round, and its ratio to a dense one."""
    held, model = sequences() if case == "dsl" else images()
    until = rounds + WARM_UP
    strategy, trainer = CASES[case]
    with (
        session(strategy, held, model, until, batch=BATCH, trainer=trainer) as own,
        session(DENSE, held, model, until, batch=BATCH) as other,
    ):
        against(own, other, range(WARM_UP))
        return against(own, other, range(WARM_UP, until))


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("masked", description=__doc__, formatter_class=form)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"all, or some of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds of each (9)")
    given = parser.parse_args(argv)
    names = given.cases or list(CASES)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        print(f"masked: {unknown[0]}: there is no such case{there_are(unknown[0], CASES)}", file=sys.stderr)
        return 2
    print("case              ms a round   x dense", flush=True)
    for name in names:
        round_s, times = ratio(name, given.rounds)
        print(f"{name:<18}{round_s * 1e3:10.1f}{times:10.2f}", flush=True)
    print(f"load {os.getloadavg()[0]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
