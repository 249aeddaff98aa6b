"""Rounds of FedAvg on an accelerator, fedsparse beside a plain loop over clients that never leaves it.

    python -m experiments.benchmarks.accelerator [CASE ...] [--device cuda] [--rounds N]

Cases: w1 (MLP 784-200-200-10, 50 clients a round), w2 (the CNN of McMahan et al., 10 clients), w2b (LeNet-5, 50
clients), resnet (a residual network of width 16 with GroupNorm on 32 x 32 pixels in three colours, 20 clients); three
steps of 20 examples each. The plain loop has its data set there and adds up the models of clients there. In fedsparse
what clients send comes back to the processor in every round, where strategies and byte counts are. Medians of rounds
after some that warm up, all of one program and then all of the other.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from experiments.benchmarks.profile_round import examples, mlp
from experiments.benchmarks.rivals.plain import train
from fedsparse import models, simulate
from fedsparse.cohort.device import prepared
from fedsparse.cohort.examples import Examples
from fedsparse.command import concluded
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.words import there_are

__all__ = ["CASES", "main", "ours", "plain"]

BATCH, STEPS, LR, HELD = 20, 3, 0.05, 60
WARM_UP = 3


@dataclass(frozen=True)
class Case:
    """A model, as fedsparse knows it.

    Attributes:
        model: its name.
        inputs: shape of an example.
        cohort: clients of a round.
        options: of the model.
    """

    model: str
    inputs: tuple[int, ...]
    cohort: int
    options: tuple[tuple[str, int], ...] = ()

    def build(self) -> nn.Module:
        """The model with its initial weights."""
        if self.model == "mlp":
            return mlp(*self.inputs, 200)
        return models.build(self.model, self.inputs, 10, 0, **dict(self.options))


CASES = {
    "w1": Case("mlp", (784,), 50),
    "w2": Case("cnn", (1, 28, 28), 10),
    "w2b": Case("lenet5", (1, 28, 28), 50),
    "resnet": Case("resnet", (3, 32, 32), 20, (("width", 16),)),
}
"""By name."""


def ours(case: Case, held: Examples, device: str, rounds: int) -> float:
    """Median seconds of a round of fedsparse, in one process."""
    result = simulate(
        FedAvg(lr=LR, steps=STEPS),
        examples=held,
        model=case.build(),
        batch=BATCH,
        rounds=rounds + WARM_UP + 1,
        cohort=case.cohort,
        device=device,
        evaluate_every=1 << 30,
    )
    return statistics.median(
        record.wall_s for record in result.history[WARM_UP:-1]
    )  # the last one is evaluated


def plain(case: Case, held: Examples, device: str, rounds: int) -> float:
    """Median seconds of a round of the loop."""
    place = prepared(device)
    net = case.build().to(place)
    parameters = list(net.parameters())
    x, y = (torch.from_numpy(values).to(place) for values in (held.x, held.y))
    start = [p.detach().clone() for p in parameters]
    taken = []
    for _ in range(rounds + WARM_UP):
        _finish(place)
        began = time.perf_counter()
        chosen = (
            torch.randperm(held.clients)[: case.cohort, None] * HELD + torch.rand(case.cohort, HELD).argsort()
        )
        steps = chosen[:, : STEPS * BATCH].view(case.cohort, STEPS, BATCH).to(place)
        total = [torch.zeros_like(p) for p in start]
        for own in steps:
            train(net, parameters, x, y, own, LR)
            with torch.no_grad():
                torch._foreach_add_(total, parameters)
                torch._foreach_copy_(parameters, start)
        start = [value / case.cohort for value in total]
        with torch.no_grad():
            torch._foreach_copy_(parameters, start)
        _finish(place)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[WARM_UP:])


def _finish(place: torch.device) -> None:
    """Waits until the device has done what it was told."""
    if place.type == "cuda":
        torch.cuda.synchronize(place)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("accelerator", description=__doc__, formatter_class=form)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"all, or some of {', '.join(CASES)}")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:0 and so on, or cpu (cuda)")
    parser.add_argument("--rounds", type=int, default=12, help="timed rounds of each (12)")
    given = parser.parse_args(argv)
    names = given.cases or list(CASES)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        print(
            f"accelerator: {unknown[0]}: there is no such case{there_are(unknown[0], CASES)}", file=sys.stderr
        )
        return 2
    if given.rounds < 1:
        print(f"accelerator: --rounds {given.rounds}: must be at least 1", file=sys.stderr)
        return 2
    return concluded(lambda: _table(names, given.device, given.rounds), verbose=False, only_shows=True)


def _table(names: Sequence[str], device: str, rounds: int) -> int:
    place = prepared(device)
    print(torch.cuda.get_device_name(place) if place.type == "cuda" else device)
    print("case        plain, ms   fedsparse, ms   times faster", flush=True)
    for name in names:
        case = CASES[name]
        held = examples(10 * case.cohort, case.inputs)
        theirs, own = (way(case, held, device, rounds) for way in (plain, ours))
        print(f"{name:<10}{theirs * 1e3:11.1f}{own * 1e3:16.1f}{theirs / own:15.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
