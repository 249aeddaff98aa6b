"""Which compressed methods are exact: error against bytes where the solution is known, and a verdict on each bar.

    python -m experiments.compressed.toys quadratic
    python -m experiments.compressed.toys saddle
    python -m experiments.compressed.toys bilinear

What is run, and which error each method must end below or above, is in the YAML file of that name beside this one. Runs
lie in ``--runs`` and are not run again; ``--results`` gets a table, a file of numbers and a picture. The exit status is
1 where a bar does not hold. ``--quick`` takes a few rounds: it shows that everything runs, and judges nothing.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.curves import Curve, course
from experiments.show import draw, write_csv
from fedsparse.command import concluded
from fedsparse.units import bytes_text
from fedsparse.workers import Workers

__all__ = ["NAMES", "RESULTS", "Method", "Toy", "main"]

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER.parent / "results" / "compressed"
NAMES = ("quadratic", "saddle", "bilinear")


@dataclass(frozen=True)
class Method:
    """A curve and its bar.

    Attributes:
        label: what it is called.
        words: what sets it apart, as for ``python -m fedsparse.run``.
        below: what its error must end below.
        above: what its error must end above.
    """

    label: str
    words: Sequence[str]
    below: float | None = None
    above: float | None = None

    @property
    def slug(self) -> str:
        """The label as a folder's name."""
        return re.sub(r"\W+", "-", self.label).strip("-")

    @property
    def bar(self) -> str:
        """The bar in words; empty where there is none."""
        named = (("below", self.below), ("above", self.above))
        return " and ".join(f"{word} {bound:g}" for word, bound in named if bound is not None)

    def holds(self, error: float) -> bool:
        """Whether a run that ended with this error keeps the bar."""
        return (self.below is None or error < self.below) and (self.above is None or error > self.above)


@dataclass(frozen=True)
class Toy:
    """An experiment, as its YAML file has it.

    Attributes:
        title: of the picture.
        metric: what is measured.
        axis: what that is, in words.
        task: words that all runs have.
        quick: words that make it short.
        methods: in the order of the table.
    """

    title: str
    metric: str
    axis: str
    task: Sequence[str]
    quick: Sequence[str]
    methods: Sequence[Method]

    @classmethod
    def named(cls, name: str) -> Toy:
        """The experiment of a name."""
        found: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
        return cls(**found | {"methods": [Method(**each) for each in found["methods"]]})

    def curves(self, runs: Path, quick: bool) -> list[Curve]:
        """Runs what was not run yet; a curve for each method."""
        found = []
        with Workers() as workers:
            for method in self.methods:
                words = [*self.task, *(self.quick if quick else ()), *method.words]
                records, diverged = course(runs / method.slug, words, workers)
                curve = Curve.of(method.label, [records], self.metric)
                found.append(Curve(**vars(curve) | {"diverged": diverged}))
        return found

    def table(self, curves: Sequence[Curve], judged: bool) -> str:
        """The end of every curve, and whether its bar holds."""
        lines = [
            f"| method | {self.metric} at the end | rounds | bytes up | bar | holds |",
            "|---|---:|---:|---:|---|---|",
        ]
        for method, curve in zip(self.methods, curves, strict=True):
            verdict = "yes" if method.holds(curve.end) else "**no**"
            bar = (method.bar, verdict if judged else "not judged") if method.bar else ("", "")
            sent = bytes_text(round(float(curve.up[-1])))
            lines.append(
                f"| {method.label} | {curve.end:.1e} | {curve.rounds[-1]} | {sent} | {' | '.join(bar)} |"
            )
        return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("toys", description=__doc__, formatter_class=form)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--quick", action="store_true", help="a few rounds; bars are not judged")
    parser.add_argument("--runs", type=Path, help="folder of the runs (runs/compressed/NAME)")
    parser.add_argument("--results", type=Path, help=f"where results go ({RESULTS}, with --quick the runs)")
    given = parser.parse_args(argv)
    return concluded(lambda: _shown(given), verbose=False, only_shows=False)


def _shown(given: argparse.Namespace) -> int:
    quick: bool = given.quick
    runs = given.runs or Path("runs", "compressed", given.name + ("-quick" if quick else ""))
    results: Path = given.results or (runs if quick else RESULTS)
    toy = Toy.named(given.name)
    curves = toy.curves(runs, quick)
    table = toy.table(curves, judged=not quick)
    draw(curves, toy.title, toy.axis, results / given.name)
    write_csv(curves, results / f"{given.name}.csv")
    (results / f"{given.name}.md").write_text(table, encoding="utf-8")
    print(f"{toy.title}\n\n{table}\nwritten to {results}")
    kept = all(method.holds(curve.end) for method, curve in zip(toy.methods, curves, strict=True))
    return 0 if quick or kept else 1


if __name__ == "__main__":
    sys.exit(main())
