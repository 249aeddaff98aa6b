"""Compressed methods on a real task: logistic regression on a9a, sorted by label over twenty clients.

    python -m experiments.compressed.a9a data_dir=data

Every method gets the same grid of step sizes, tried with two seeds and chosen by the loss on a validation part
(``python -m fedsparse.tune``). The chosen step is then run with three other seeds on all training examples, and judged
by the objective gap: the training loss less its minimum, which L-BFGS finds in double precision. All parameters are
in ``a9a.yaml`` beside this file. Runs lie in ``--runs`` and are not run again, so that an interrupted command goes on
where it was; ``--results`` gets a table, a file of numbers and a picture. ``--quick`` takes a few rounds and one seed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.optimize import minimize
from scipy.special import expit

from experiments.compressed.toys import FOLDER, RESULTS
from experiments.curves import HERE, Curve, course
from experiments.show import draw, write_csv
from fedsparse import data, tune
from fedsparse.command import concluded
from fedsparse.errors import Diverged
from fedsparse.units import bytes_text
from fedsparse.workers import Workers

__all__ = ["Group", "Method", "Study", "least_loss", "main"]


@dataclass(frozen=True)
class Method:
    """A curve.

    Attributes:
        label: what it is called.
        strategy: its name.
        words: its other words, as for ``python -m fedsparse.run``.
    """

    label: str
    strategy: str
    words: Sequence[str]


@dataclass(frozen=True)
class Group:
    """Methods that do as many rounds; groups differ in rounds such that all do as many gradients.

    Attributes:
        name: of its tuning.
        rounds: of each run.
        eval_every: rounds between two points of a curve.
        methods: each strategy once.
    """

    name: str
    rounds: int
    eval_every: int
    methods: Sequence[Method]

    @property
    def slug(self) -> str:
        """The name as a folder's name."""
        return self.name.replace(" ", "-")


@dataclass(frozen=True)
class Chosen:
    """A method with what its tuning chose.

    Attributes:
        method: which.
        group: where it belongs.
        tuning: what its runs carry, see :class:`fedsparse.tuning.Tuned`.
        edge: the chosen step is the smallest or largest of the grid.
    """

    method: Method
    group: Group
    tuning: Mapping[str, Any]
    edge: bool

    @property
    def lr(self) -> float:
        """The chosen step size."""
        return float(self.tuning["chosen"]["strategy.lr"])


@dataclass(frozen=True)
class Study:
    """The experiment, as its YAML file has it.

    Attributes:
        title: of the picture.
        task: words that all runs have.
        grid: step sizes.
        seeds: that each is tried with.
        validation: share of the examples that judges them.
        final_seeds: of the runs with what was chosen.
        gaps: of which the table says how many bytes they took.
        groups: of methods.
    """

    title: str
    task: Sequence[str]
    grid: Sequence[float]
    seeds: Sequence[int]
    validation: float
    final_seeds: Sequence[int]
    gaps: Sequence[float]
    groups: Sequence[Group]

    @classmethod
    def read(cls) -> Study:
        """What ``a9a.yaml`` has."""
        found: dict[str, Any] = yaml.safe_load((FOLDER / "a9a.yaml").read_text(encoding="utf-8"))
        groups = [
            Group(**each | {"methods": [Method(**method) for method in each["methods"]]})
            for each in found["groups"]
        ]
        return cls(**found | {"groups": groups})

    def quick(self) -> Study:
        """One that takes seconds."""
        groups = [replace(each, rounds=10, eval_every=2) for each in self.groups]
        return replace(
            self, grid=self.grid[2:4], seeds=self.seeds[:1], final_seeds=self.final_seeds[:1], groups=groups
        )

    def tuned(self, group: Group, runs: Path) -> list[Chosen]:
        """Tunes a group, or reads what was tuned; what each method got.

        Raises:
            SystemExit: it failed, or was interrupted; it has said why.
        """
        folder = runs / f"tuning-{group.slug}"
        if (folder / "tuned.json").exists():
            words = [f"resume={folder}"]
        else:
            words = [*self._tuning_words(group), f"runs={folder.parent}", f"name={folder.name}"]
        status = tune.main([*words, *HERE])
        if status:
            sys.exit(status)
        found = json.loads((folder / "tuned.json").read_text(encoding="utf-8"))["result"]
        edges = {line.partition(":")[0] for line in found["warnings"] if "edge of the grid" in line}
        by_name = {each["method"]: each["tuning"] for each in found["methods"]}
        return [
            Chosen(method, group, by_name[method.strategy], method.strategy in edges)
            for method in group.methods
        ]

    def _tuning_words(self, group: Group) -> list[str]:
        return [
            *self.task,
            "strategy=" + _listed(method.strategy for method in group.methods),
            f"strategy.lr={_listed(self.grid)}",
            *(f"{method.strategy}:{word}" for method in group.methods for word in method.words),
            f"rounds={group.rounds}",
            f"validation={self.validation}",
            "metric=validation_loss",
            f"seed={_listed(self.seeds)}",
            # The tuner's own report keeps the validation part back; ours trains on all examples.
            f"report_seed={self.final_seeds[0]}",
        ]

    def curve(self, chosen: Chosen, least: float, runs: Path, workers: Workers) -> Curve:
        """The gaps of a method, over the final seeds.

        Raises:
            Diverged: it did with one of them.
        """
        method, group = chosen.method, chosen.group
        found = []
        for seed in self.final_seeds:
            words = [
                *self.task, f"strategy={method.strategy}", *method.words, f"strategy.lr={chosen.lr!r}",
                f"rounds={group.rounds}", f"eval_every={group.eval_every}", f"seed={seed}",
            ]  # fmt: skip
            path = runs / f"final-{group.slug}" / f"{method.strategy}-s{seed}"
            records, diverged = course(path, words, workers, chosen.tuning)
            if diverged:
                raise Diverged(f"{method.label}: diverged with seed={seed} at the chosen step {chosen.lr:g}")
            found.append(records)
        return Curve.of(method.label, found, "loss", less=least)

    def table(self, every: Sequence[Chosen], curves: Sequence[Curve]) -> str:
        """What was chosen, where it ended, and what it took to get to each gap."""
        heads = ["method", "step", f"gap at the end ({len(self.final_seeds)} seeds)", "bytes up"]
        heads += [f"to {gap:g}" for gap in self.gaps]
        lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
        for chosen, curve in zip(every, curves, strict=True):
            cells = [
                curve.label,
                f"{chosen.lr:g}" + (" (edge)" if chosen.edge else ""),
                f"{curve.end:.2e} ({curve.low[-1]:.1e} to {curve.high[-1]:.1e})",
                bytes_text(float(curve.up[-1])),
            ]
            for gap in self.gaps:
                needed = curve.bytes_to(gap)
                cells.append("–" if needed is None else bytes_text(needed))
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"


def least_loss(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The least mean logistic loss of a linear model with bias, and the norm of the gradient there; L-BFGS in float64.

    Args:
        x: examples ``[n, features]``.
        y: 0 or 1 ``[n]``.
    """
    wide = np.hstack([x.astype(np.float64), np.ones((len(x), 1))])
    sign = 2.0 * y - 1

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (wide @ w)
        return float(np.logaddexp(0, -margin).mean()), wide.T @ (-sign * expit(-margin)) / len(wide)

    options = {"maxiter": 5000, "maxfun": 10000, "ftol": 1e-14, "gtol": 1e-8}
    found = minimize(loss, np.zeros(wide.shape[1]), jac=True, method="L-BFGS-B", options=options)
    return float(found.fun), float(np.linalg.norm(found.jac))


def _listed(values: Iterator[Any] | Sequence[Any]) -> str:
    return ",".join(str(value) for value in values)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("a9a", description=__doc__, formatter_class=form)
    parser.add_argument("words", nargs="*", help="further key=value of all runs, such as data_dir=FOLDER")
    parser.add_argument("--quick", action="store_true", help="a few rounds, to see that everything runs")
    parser.add_argument("--runs", type=Path, help="folder of the runs (runs/compressed/a9a)")
    parser.add_argument("--results", type=Path, help=f"where results go ({RESULTS}, with --quick the runs)")
    given = parser.parse_args(argv)
    return concluded(lambda: _shown(given), verbose=False, only_shows=False)


def _shown(given: argparse.Namespace) -> int:
    quick: bool = given.quick
    runs = given.runs or Path("runs", "compressed", "a9a" + ("-quick" if quick else ""))
    results: Path = given.results or (runs if quick else RESULTS)
    study = Study.read()
    study = study.quick() if quick else study
    study = replace(study, task=[*study.task, *given.words])
    least, norm = _least(given.words)
    every = [chosen for group in study.groups for chosen in study.tuned(group, runs)]
    with Workers() as workers:
        curves = [study.curve(chosen, least, runs, workers) for chosen in every]
    table = study.table(every, curves)
    note = f"Least training loss {least:.8f} (L-BFGS, gradient norm {norm:.0e} there).\n"
    draw(curves, study.title, "training loss above its minimum (nats)", results / "a9a")
    write_csv(curves, results / "a9a.csv")
    (results / "a9a.md").write_text(f"{table}\n{note}", encoding="utf-8")
    print(f"{study.title}\n\n{table}\n{note}written to {results}")
    return 0


def _least(words: Sequence[str]) -> tuple[float, float]:
    """That of the training examples."""
    given = dict(word.partition("=")[::2] for word in words)
    dataset = data.load("libsvm", given.get("data_dir"), 0, file="a9a")
    assert isinstance(dataset, data.Dataset)
    return least_loss(dataset.x, dataset.y)


if __name__ == "__main__":
    sys.exit(main())
