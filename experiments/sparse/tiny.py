"""Sparse models on images: accuracy, bytes, arithmetic and memory of every method at several densities.

    python -m experiments.sparse.tiny data_dir=FOLDER [name=part ...] [--runs FILE] [--results FOLDER]

A residual network with BatchNorm is first trained on a few public examples, as the server of FedTiny does; all methods
start from it, on clients that hold the rest. Parameters are in ``tiny.yaml`` beside this file. Results of single runs
lie in ``--runs``, one line each, and are not computed again. ``density=``, ``method=`` and ``seed=`` choose some of
them; ``rounds=`` shortens all.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from experiments.sparse.stored import Stored, asked
from fedsparse import data, models, rng, simulate
from fedsparse.cohort.examples import Examples
from fedsparse.data.dataset import Dataset
from fedsparse.data.partition import partition
from fedsparse.registry import strategies
from fedsparse.units import bytes_text


def prepared(study: Mapping[str, Any], data_dir: Path | None, seed: int) -> tuple[Examples, nn.Module]:
    """What the clients hold, and the model after its training on the public examples."""
    whole = data.load(study["data"], data_dir)
    if not isinstance(whole, Dataset):
        raise TypeError(f"{study['data']} is not a data set of examples")
    chosen = rng.stream(seed, "tiny").permutation(len(whole.x))[: study["examples"]]
    public, private = np.sort(chosen[: study["public"]]), np.sort(chosen[study["public"] :])
    model = models.build("resnet", whole.example_shape, whole.classes, seed, **study["model"])
    own = replace(whole, x=whole.x[private], y=whole.y[private], groups=None)
    examples = Examples.of(own, partition("dirichlet", own, study["clients"], seed, alpha=study["alpha"]))
    inputs = examples.inputs(whole.x, public)
    trained(model, inputs, torch.from_numpy(whole.y[public]).long(), seed, **study["pretraining"])
    return examples, model


def trained(
    model: nn.Module, x: torch.Tensor, y: torch.Tensor, seed: int, *, epochs: int, lr: float, batch: int
) -> None:
    """Trains a model by SGD with momentum, in place."""
    optimiser = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    model.train()
    for epoch in range(epochs):
        for at in np.array_split(rng.stream(seed, "pretraining", epoch).permutation(len(x)), len(x) // batch):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x[at]), y[at]).backward()
            optimiser.step()
    model.eval()


def run(
    study: Mapping[str, Any], examples: Examples, model: nn.Module, words: Mapping[str, Any]
) -> dict[str, float]:
    """The figures of one run: ``words`` are its method, density and seed."""
    options = dict(study["methods"][words["method"]])
    kind = strategies.get(options.pop("strategy"))
    strategy = kind(density=words["density"], **study["local"], **options)
    rounds = study["rounds"]
    result = simulate(
        strategy,
        examples=examples,
        model=model,
        batch=study["batch"],
        rounds=rounds,
        seed=words["seed"],
        evaluate_every=rounds,
    )
    summary = result.summary
    cost = {
        f"{name}_{kind}": summary.scalars[name][kind]
        for name in ("flops", "device_bytes")
        for kind in ("mean", "max")
    }
    return {"accuracy": summary.final["accuracy"], "up": summary.up_bytes, "down": summary.down_bytes, **cost}


def missing(study: Mapping[str, Any], known: Stored, only: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Runs that are not there yet, seed by seed."""
    for seed in study["seeds"]:
        for density in study["densities"]:
            for method in study["methods"]:
                words = {"method": method, "density": density, "seed": seed, "rounds": study["rounds"]}
                if all(str(words[key]) == value for key, value in only.items()) and not known.of(words):
                    yield words


def table(known: Stored, study: Mapping[str, Any]) -> str:
    """One line for each method and density; arithmetic of a device and round, memory of a device."""
    head = "density", "method", "accuracy", "lowest, highest", "up", "down", "MFLOP: mean, max", "memory: max"
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for density in study["densities"]:
        for method in study["methods"]:
            own = known.of({"method": method, "density": density, "rounds": study["rounds"]})
            if own:
                lines.append(_line(density, method, own))
    return "\n".join(lines)


def _line(density: float, method: str, own: Sequence[Mapping[str, Any]]) -> str:
    mean = {key: statistics.fmean(r[key] for r in own) for key in own[0] if key != "method"}
    accuracies = [r["accuracy"] for r in own]
    cells = [
        f"{density:g}",
        method,
        f"{100 * mean['accuracy']:.1f} %",
        f"{100 * min(accuracies):.1f}, {100 * max(accuracies):.1f}"
        + ("" if len(own) == 3 else f" ({len(own)} seeds)"),
        bytes_text(round(mean["up"])),
        bytes_text(round(mean["down"])),
        f"{mean['flops_mean'] / 1e6:,.0f}, {mean['flops_max'] / 1e6:,.0f}",
        bytes_text(round(mean["device_bytes_max"])),
    ]
    return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str]) -> int:
    """Runs what is missing and writes the table, ``tiny.md``."""
    given, only, study, data_dir = asked("tiny", argv, __doc__)
    known = Stored(given.runs)
    made: tuple[int, Any] = (-1, None)
    for words in missing(study, known, only):
        if made[0] != words["seed"]:
            made = (words["seed"], prepared(study, data_dir, words["seed"]))
        known.add(words, run(study, *made[1], words))
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / "tiny.md").write_text(table(known, study) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
