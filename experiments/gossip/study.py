"""Methods of gossip on real data: how good every client's own model gets, for the bytes that a client sends.

    python -m experiments.gossip.study variance data_dir=data
    python -m experiments.gossip.study methods data_dir=data

What is run is in the YAML file of that name beside this one: arms on panels, each with some seeds. Runs lie in
``--runs`` and are not run again, so that an interrupted command goes on where it was; ``--results`` gets a table, a
file of numbers and a picture. ``--quick`` takes a few rounds and one seed.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure

from experiments.curves import course
from experiments.show import bytes_of, save, style
from fedsparse.command import concluded
from fedsparse.records import Record
from fedsparse.units import bytes_text
from fedsparse.workers import Workers

__all__ = ["NAMES", "RESULTS", "Arm", "Line", "Panel", "Study", "main"]

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER.parent / "results" / "gossip"
NAMES = ("variance", "methods")
_HERE = ("engine=local", "engine.workers=1", "quiet=true")
_METRICS = ("accuracy", "accuracy_worst", "accuracy_of_average")


@dataclass(frozen=True)
class Panel:
    """Circumstances that all arms are tried in.

    Attributes:
        label: what they are called.
        words: what sets them apart, as for ``python -m fedsparse.run``.
    """

    label: str
    words: Sequence[str]


@dataclass(frozen=True)
class Arm:
    """A method.

    Attributes:
        label: what it is called.
        words: what sets it apart; they come after those of the panel.
        without: panels that it does not take part in, and why.
    """

    label: str
    words: Sequence[str]
    without: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """What an arm came to on a panel, at each evaluation.

    Attributes:
        panel: where.
        arm: which.
        rounds: after which it was evaluated, from 1, ``[n]``.
        sent: bytes that a client has sent until then, on average, ``[n]``.
        values: by metric, of each seed ``[seeds, n]``.
    """

    panel: str
    arm: str
    rounds: np.ndarray
    sent: np.ndarray
    values: dict[str, np.ndarray]

    @classmethod
    def of(cls, panel: str, arm: str, runs: Sequence[Sequence[Record]], clients: int) -> Line:
        """The line of runs that differ in nothing but the seed."""
        seen = [[record for record in records if record.metrics] for records in runs]
        names = [name for name in _METRICS if name in seen[0][0].metrics]
        return cls(
            panel,
            arm,
            np.array([record.round + 1 for record in seen[0]]),
            np.array([[record.up_bytes / clients for record in records] for records in seen]).mean(0),
            {name: np.array([[r.metrics[name] for r in records] for records in seen]) for name in names},
        )

    def end(self, metric: str) -> str:
        """The mean over seeds at the end, and the range; a dash where it was not measured."""
        if metric not in self.values:
            return "–"
        last = self.values[metric][:, -1]
        spread = f" ({last.min():.3f} to {last.max():.3f})" if len(last) > 1 else ""
        return f"{last.mean():.3f}{spread}"


@dataclass(frozen=True)
class Study:
    """An experiment, as its YAML file has it.

    Attributes:
        title: of the picture.
        against: what accuracy is drawn against, ``"rounds"`` or ``"bytes"``.
        task: words that all runs have.
        clients: how many.
        seeds: of each arm.
        quick: words that make it short.
        panels: in the order of the picture.
        arms: in the order of the table.
    """

    title: str
    against: str
    task: Sequence[str]
    clients: int
    seeds: Sequence[int]
    quick: Sequence[str]
    panels: Sequence[Panel]
    arms: Sequence[Arm]

    @classmethod
    def named(cls, name: str) -> Study:
        """What the YAML file of that name has."""
        found: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
        made = {
            "panels": [Panel(**each) for each in found["panels"]],
            "arms": [Arm(**each) for each in found["arms"]],
        }
        return cls(**found | made)

    def shortened(self) -> Study:
        """One that takes seconds."""
        return replace(self, task=[*self.task, *self.quick], seeds=self.seeds[:1])

    def lines(self, words: Sequence[str], runs: Path, workers: Workers) -> Iterator[Line]:
        """Runs what has not been run, arm after arm."""
        for panel in self.panels:
            for arm in self.arms:
                if panel.label in arm.without:
                    continue
                found = []
                for seed in self.seeds:
                    path = runs / _slug(panel.label) / f"{_slug(arm.label)}-s{seed}"
                    every = [
                        *self.task,
                        f"clients={self.clients}",
                        *panel.words,
                        *arm.words,
                        *words,
                        f"seed={seed}",
                    ]
                    print(f"{panel.label}: {arm.label}, seed {seed}", flush=True)
                    found.append(course(path, every, workers, here=_HERE)[0])
                yield Line.of(panel.label, arm.label, found, self.clients)

    def table(self, lines: Sequence[Line]) -> str:
        """What every arm ended with."""
        heads = [
            "",
            "method",
            "clients' own models",
            "the worst client's",
            "the mean model",
            "bytes a client sends",
        ]
        out = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
        for line in lines:
            cells = [
                line.panel,
                line.arm,
                *(line.end(metric) for metric in _METRICS),
                bytes_text(float(line.sent[-1])),
            ]
            out.append("| " + " | ".join(cells) + " |")
        left_out = [f"{a.label} on {panel}: {why}" for a in self.arms for panel, why in a.without.items()]
        return "\n".join(out) + "\n" + "".join(f"\nNot run: {text}.\n" for text in left_out)

    def draw(self, lines: Sequence[Line], stem: Path) -> None:
        """Writes the picture: on each panel the accuracy of the clients' own models, mean and range over seeds."""
        rows = -(-len(self.panels) // 2)
        figure = Figure(figsize=(11, 3.8 * rows), layout="constrained")
        grid = figure.subplots(rows, min(2, len(self.panels)), squeeze=False, sharey=True)
        looks = {arm.label: style(number, len(self.arms)) for number, arm in enumerate(self.arms)}
        for panel, axes in zip(self.panels, grid.flat, strict=False):
            for line in (each for each in lines if each.panel == panel.label):
                x, look = line.rounds if self.against == "rounds" else line.sent, looks[line.arm]
                x, own = (
                    x[x > 0],
                    line.values["accuracy"][:, x > 0],
                )  # where nothing is sent yet, there is no place
                axes.plot(x, own.mean(0), label=line.arm, **look)
                if len(own) > 1:
                    axes.fill_between(x, own.min(0), own.max(0), color=look["color"], alpha=0.15, linewidth=0)
            axes.set(title=panel.label, ylim=(0, 1), ylabel="test accuracy, mean of clients")
            axes.grid(alpha=0.3)
            if self.against == "bytes":
                axes.set(xscale="log", xlabel="bytes that a client has sent")
                axes.xaxis.set_major_formatter(bytes_of)
            else:
                axes.set(xlabel="round")
        named = [pair for axes in grid.flat for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
        handles = {text: handle for handle, text in named}
        figure.legend(handles.values(), handles.keys(), loc="outside right center", fontsize="small")
        figure.suptitle(self.title, fontsize="medium")
        save(figure, stem)


def write_numbers(lines: Sequence[Line], path: Path) -> None:
    """Writes every evaluation of every line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["panel", "method", "rounds", "bytes_per_client", "metric", "lowest", "mean", "highest"])
        for line in lines:
            for metric, values in line.values.items():
                for at, number in enumerate(line.rounds.tolist()):
                    found = values[:, at]
                    numbers = [f"{float(v):.4f}" for v in (found.min(), found.mean(), found.max())]
                    out.writerow(
                        [line.panel, line.arm, number, round(float(line.sent[at])), metric, *numbers]
                    )


def _slug(text: str) -> str:
    return re.sub(r"\W+", "-", text).strip("-")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("study", description=__doc__, formatter_class=form)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("words", nargs="*", help="further key=value of all runs, such as data_dir=FOLDER")
    parser.add_argument("--quick", action="store_true", help="a few rounds, to see that everything runs")
    parser.add_argument("--runs", type=Path, help="folder of the runs (runs/gossip/NAME)")
    parser.add_argument("--results", type=Path, help=f"where results go ({RESULTS}, with --quick the runs)")
    given = parser.parse_intermixed_args(argv)
    return concluded(lambda: _shown(given), verbose=False, only_shows=False)


def _shown(given: argparse.Namespace) -> int:
    name, quick = given.name, given.quick
    runs: Path = given.runs or Path("runs", "gossip", name + ("-quick" if quick else ""))
    results: Path = given.results or (runs if quick else RESULTS)
    study = Study.named(name)
    study = study.shortened() if quick else study
    with Workers() as workers:
        lines = list(study.lines(given.words, runs, workers))
    table = study.table(lines)
    study.draw(lines, results / name)
    write_numbers(lines, results / f"{name}.csv")
    (results / f"{name}.md").write_text(table, encoding="utf-8")
    print(f"{study.title}\n\n{table}\nwritten to {results}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
