"""From an experiment to its curves: values are chosen, runs are made, what is there is only read."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedsparse import config as configuration
from fedsparse.config import RunConfig
from fedsparse.errors import ConfigError, Diverged
from fedsparse.experiment.curve import Curve
from fedsparse.experiment.form import Experiment, Method, Panel, Tune
from fedsparse.experiment.works import HERE, Work, carried_out
from fedsparse.records import Record, plain
from fedsparse.report.course import Run
from fedsparse.report.reading import read_run
from fedsparse.runfolder import read_rounds
from fedsparse.tuning.fairness import Tuned
from fedsparse.tuning.grid import Method as Tried
from fedsparse.tuning.grid import method as tried
from fedsparse.tuning.result import MethodResult, Scored
from fedsparse.tuning.score import Trial, metric_of, scored
from fedsparse.words import listed

__all__ = ["Arm", "Study", "cores"]


@dataclass(frozen=True)
class Arm:
    """A method on a panel.

    Attributes:
        panel: where.
        method: which.
        config: with the chosen values; seed and folder are those of nobody.
        tuned: how they were chosen; ``None`` where they were not.
        warnings: what a reader should know about the choice.
        works: its runs, one for each seed.
    """

    panel: Panel
    method: Method
    config: RunConfig
    tuned: Tuned | None = None
    warnings: Sequence[str] = ()
    works: Sequence[Work] = ()

    @property
    def slug(self) -> str:
        """Its place in a folder."""
        return "/".join(part for part in (_slug(self.panel.label), _slug(self.method.label)) if part)

    @property
    def label(self) -> str:
        """What it is called where there are several panels."""
        return f"{self.panel.label}: {self.method.label}" if self.panel.label else self.method.label

    @property
    def runs(self) -> list[Run]:
        """Its runs, read."""
        return [read_run(work.path) for work in self.works]


@dataclass
class Study:
    """An experiment that is carried out.

    Attributes:
        experiment: what.
        words: further words of all runs.
        runs: the folder of its runs.
        jobs: runs at a time.
        note: is told what is done.
    """

    experiment: Experiment
    words: Sequence[str]
    runs: Path
    jobs: int
    note: Callable[[str], None]

    def go(self) -> list[Arm]:
        """All methods on all panels, with their runs made.

        Raises:
            ConfigError: words that make no sense; before anything is run.
            Interrupted: a signal stopped it; the same command goes on.
            FedSparseError: a run failed, other than by diverging.
        """
        arms = list(self._arms())
        self._prepare(arms[0].config)
        tune = self.experiment.tune
        if tune is not None:
            arms = self._tuned(arms, tune)
        arms = [
            replace(arm, works=[self._final(arm, seed) for seed in self.experiment.seeds]) for arm in arms
        ]
        self.note(f"{sum(len(arm.works) for arm in arms)} runs that are judged")
        carried_out([work for arm in arms for work in arm.works], self.jobs, self.note)
        return arms

    def curves(self, arms: Sequence[Arm]) -> list[Curve]:
        """The curves of all metrics that were evaluated; ``less`` is taken from the one that is judged."""
        asked, found = self.experiment, []
        for arm in arms:
            runs = arm.runs
            names = set.intersection(*(set(run.course.metrics) for run in runs))
            if asked.metric not in names:
                raise ConfigError(f"metric: {asked.metric}: {arm.label} has {listed(sorted(names))}")
            for name in (asked.metric, *sorted(names & {t.metric for t in asked.expected} - {asked.metric})):
                less = asked.less if name == asked.metric else 0.0
                label = arm.panel.label, arm.method.label
                found.append(Curve.of(*label, runs, str(name), asked.against, less))
        return found

    def seconds(self) -> float:
        """What all runs in the folder took, those with which values were chosen among them."""
        folders = [path.parent for path in self.runs.glob("**/rounds.jsonl")]
        return math.fsum(record["wall_s"] for folder in folders for record in read_rounds(folder))

    def _arms(self) -> Iterator[Arm]:
        for panel in self.experiment.panels:
            for method in self.experiment.methods:
                if panel.label not in method.without:
                    words = self._words(panel, method)
                    yield Arm(panel, method, configuration.parse([*words, *HERE]))

    def _words(self, panel: Panel, method: Method) -> list[str]:
        asked = self.experiment
        return [*self._base_words(), *asked.task, *panel.words, *method.words, *asked.words, *self.words]

    # ---- what is pre-trained

    @property
    def _base(self) -> Path:
        return self.runs / "base"

    def _base_words(self) -> list[str]:
        if self.experiment.base is None:
            return []
        clients = self._base / "clients"
        return ["model=lora", f"model.base={self._base}", "data=arrays", f"data.folder={clients}"]

    def _prepare(self, config: RunConfig) -> None:
        if self.experiment.base is not None:
            from fedsparse.experiment.pretraining import pretrained

            data_dir = None if config.data_dir is None else Path(config.data_dir)
            pretrained(self.experiment.base, data_dir, self._base, self.note)

    def _final(self, arm: Arm, seed: int) -> Work:
        config = _placed(arm.config, self.runs / "final" / arm.slug, seed)
        tuning = None if arm.tuned is None else plain(arm.tuned)
        return Work(f"{arm.label}, seed {seed}", self.runs / "final" / arm.slug / f"s{seed}", config, tuning)

    # ---- choosing values

    def _tuned(self, arms: Sequence[Arm], tune: Tune) -> list[Arm]:
        grids = [self._grid(arm, tune) for arm in arms]
        budgets = {arm.label: len(grid.settings) for arm, grid in zip(arms, grids, strict=True)}
        if len(set(budgets.values())) > 1:
            counted = listed([f"{label} {count}" for label, count in budgets.items()])
            raise ConfigError(
                f"tune: methods have different numbers of trials ({counted}); give them as many"
            )
        trials = [list(self._trials(arm, grid, tune)) for arm, grid in zip(arms, grids, strict=True)]
        self.note(f"{sum(map(len, trials))} runs to choose values")
        carried_out([work for own in trials for work in own], self.jobs, self.note)
        every = zip(arms, grids, trials, strict=True)
        return [_with_choice(arm, _result(grid, works, tune)) for arm, grid, works in every]

    def _grid(self, arm: Arm, tune: Tune) -> Tried:
        words = [*self._words(arm.panel, arm.method), f"validation={tune.validation}", *HERE]
        (name,) = [word.removeprefix("strategy=") for word in words if word.startswith("strategy=")][-1:]
        others = [word for word in words if not word.startswith("strategy=")]
        return tried(name, [*others, *tune.words(arm.method.label)])

    def _trials(self, arm: Arm, grid: Tried, tune: Tune) -> Iterator[Work]:
        for number, setting in enumerate(grid.settings, start=1):
            folder = self.runs / "trials" / arm.slug / str(number)
            for seed in tune.seeds:
                label = f"{arm.label} {setting.label}, seed {seed}"
                yield Work(label, folder / f"s{seed}", _placed(setting.config, folder, seed))


def _placed(config: RunConfig, folder: Path, seed: int) -> RunConfig:
    return replace(config, seed=seed, runs=str(folder), name=f"s{seed}")


def _result(grid: Tried, works: Sequence[Work], tune: Tune) -> MethodResult:
    """The trials of a method, judged; works are in the order of settings, then seeds."""
    metric, trials = tune.metric, []
    for work in works:
        if work.diverged:
            trials.append(Trial(work.label, work.config.seed, "diverged"))
            continue
        records = [Record.of(values) for values in read_rounds(work.path)]
        metric = metric_of({name for record in records for name in record.metrics}, metric)
        trials.append(Trial(work.label, work.config.seed, *scored(records, tune.select, metric, None)))
    count = len(tune.seeds)
    found = [Scored(s, trials[at * count : (at + 1) * count]) for at, s in enumerate(grid.settings)]
    return MethodResult(grid, found, tune.select, metric or "", tune.seeds)


def _with_choice(arm: Arm, result: MethodResult) -> Arm:
    chosen, tuned = result.chosen, result.tuned
    if chosen is None:
        raise Diverged(f"{arm.label}: no value of the grid worked with all seeds; give others")
    name = result.method.name
    warnings = [warning.replace(f"{name}:", f"{arm.label}:", 1) for warning in result.warnings]
    return replace(
        arm,
        config=replace(chosen.setting.config, validation=arm.config.validation),
        tuned=tuned,
        warnings=warnings,
    )


def _slug(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text).strip("-")


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def processor() -> str:
    """What PyTorch found this processor to be capable of, such as ``AVX2``."""
    import torch

    return str(torch.backends.cpu.get_cpu_capability())
