"""Personal models on images: how good the model that each client uses is, for what it sends and computes.

    python -m experiments.sparse.personal data_dir=FOLDER [name=part ...] [--runs FILE] [--results FOLDER]

A part of each client's examples is held back for it to be tested on, and some clients never take part. Parameters are
in ``personal.yaml`` beside this file. Results of single runs lie in ``--runs``, one line each, and are not computed
again. ``method=`` and ``seed=`` choose some of them; ``rounds=`` shortens all.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

from experiments.sparse.stored import Stored, asked
from fedsparse import data, models, rng, simulate
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.supervised import SupervisedWorkload
from fedsparse.data.dataset import Dataset
from fedsparse.data.partition import partition
from fedsparse.data.personal import set_aside
from fedsparse.engine.sampling import Uniform
from fedsparse.masks import forward_flops
from fedsparse.registry import strategies
from fedsparse.units import bytes_text

_SHOWN = {
    "personal_accuracy": "personal model",
    "personal_accuracy_worst": "its worst tenth",
    "tuned_accuracy": "after tuning",
    "tuned_accuracy_worst": "its worst tenth",
    "novel_personal_accuracy": "new clients",
    "novel_tuned_accuracy": "after tuning",
    "accuracy": "common model",
}


def prepared(study: Mapping[str, Any], data_dir: Path | None, seed: int) -> Examples:
    """What the clients train and are tested on."""
    whole = data.load(study["data"], data_dir)
    if not isinstance(whole, Dataset):
        raise TypeError(f"{study['data']} is not a data set of examples")
    chosen = np.sort(rng.stream(seed, "study").permutation(len(whole.x))[: study["examples"]])
    own = replace(whole, x=whole.x[chosen], y=whole.y[chosen], groups=None)
    held = partition("dirichlet", own, study["clients"], seed, alpha=study["alpha"])
    return Examples.of(own, *set_aside(held, study["personal"], seed))


def run(study: Mapping[str, Any], examples: Examples, method: str, seed: int) -> dict[str, Any]:
    """The figures of one run: metrics at its end, and what a client that takes part sends and computes in a round."""
    options: dict[str, Any] = dict(study["methods"][method])
    kind = strategies.get(options.pop("strategy"))
    options |= {name: tuple(value) for name, value in options.items() if isinstance(value, list)}
    shape: dict[str, Any] = dict(study["model"])
    module = models.build(shape.pop("name"), examples.x.shape[1:], int(examples.y.max()) + 1, seed, **shape)
    rounds, sampler = study["rounds"], Uniform(novel=study["novel"])
    cohort = study["clients"] - int(study["novel"] * study["clients"])
    result = simulate(
        kind(steps=study["steps"], **options),
        examples=examples,
        model=module,
        batch=study["batch"],
        rounds=rounds,
        seed=seed,
        sampler=sampler,
        cohort=cohort,
        evaluate_every=rounds,
    )
    summary, each = result.summary, rounds * cohort
    layout = SupervisedWorkload(examples, module, study["batch"]).start.layout
    dense = 3 * float(forward_flops(layout, torch.ones(1, layout.size))) * summary.examples / each
    return {
        "kept": summary.scalars["kept"]["mean"] if "kept" in summary.scalars else 1.0,
        "flops": summary.scalars["flops"]["mean"] if "flops" in summary.scalars else dense,
        "up": summary.up_bytes / each,
        "down": summary.down_bytes / each,
        **summary.final,
    }


def table(known: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """One line for each method: means over seeds, and of what counts the range."""
    head = ["method", *_SHOWN.values(), "kept", "up", "down", "MFLOP"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for method, own in known.items():
        mean = {key: statistics.fmean(r[key] for r in own) for key in own[0] if key != "method"}
        accuracies = [f"{100 * mean[name]:.1f}" if name in mean else "–" for name in _SHOWN]
        low, high = (100 * of(r["personal_accuracy"] for r in own) for of in (min, max))
        accuracies[0] += f" ({low:.1f} to {high:.1f})"
        kept = f"{mean['kept']:.3f}"
        cost = [bytes_text(round(mean["up"])), bytes_text(round(mean["down"])), f"{mean['flops'] / 1e6:.1f}"]
        lines.append(f"| {' | '.join([method, *accuracies, kept, *cost])} |")
    return "\n".join(lines) + "\n"


def draw(known: Mapping[str, Sequence[Mapping[str, Any]]], stem: Path) -> None:
    """Writes the picture: accuracy of clients that took part and of new ones, before and after tuning."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    grid = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(known))
    for axes, who, title in zip(grid, ("", "novel_"), ("took part", "never took part"), strict=True):
        for shift, (name, label) in zip(
            (-0.2, 0.2), (("personal", "as it is"), ("tuned", "tuned")), strict=True
        ):
            key = f"{who}{name}_accuracy"
            found = [[r.get(key, np.nan) for r in own] for own in known.values()]
            mean, low, high = (np.array([of(each) for each in found]) for of in (np.mean, min, max))
            axes.bar(places + shift, mean, 0.4, yerr=(mean - low, high - mean), label=label, capsize=2)
        axes.set(title=f"clients that {title}", ylim=(0, 1))
        axes.set_xticks(places, list(known), rotation=25, ha="right", fontsize="small")
        axes.grid(axis="y", alpha=0.3)
    grid[0].set(ylabel="accuracy on a client's own test examples")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right center")
    save(figure, stem)


def save(figure: Figure, stem: Path) -> None:
    """Writes ``stem.png`` and ``stem.svg``; the same picture gives the same files."""
    with mpl.rc_context({"svg.hashsalt": stem.name}):
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(stem.with_suffix(".png"), dpi=110, metadata={"Software": None})


def main(argv: Sequence[str]) -> int:
    """Runs what is missing and writes table and picture, ``personal.md`` and ``personal.png``."""
    given, only, study, data_dir = asked("personal", argv, __doc__)
    stored = Stored(given.runs)
    for seed in study["seeds"]:
        examples = None
        for method in study["methods"]:
            words = {"method": method, "seed": seed, "rounds": study["rounds"]}
            wanted = all(str(words[key]) == value for key, value in only.items())
            if wanted and not stored.of(words):
                examples = examples or prepared(study, data_dir, seed)
                stored.add(words, run(study, examples, method, seed))
    every = {m: stored.of({"method": m, "rounds": study["rounds"]}) for m in study["methods"]}
    known = {method: own for method, own in every.items() if own}
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / "personal.md").write_text(table(known), encoding="utf-8")
    draw(known, given.results / "personal")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
