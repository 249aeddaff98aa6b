"""From an experiment to its curves: values are chosen, runs are made, what is there is only read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedsparse import config as configuration
from fedsparse.config import RunConfig
from fedsparse.errors import ConfigError
from fedsparse.experiment.arms import Arm, placed
from fedsparse.experiment.choosing import check_budgets, grid_of, with_choice
from fedsparse.experiment.curve import Curve
from fedsparse.experiment.form import Experiment, Method, Panel, Preparation, Tune
from fedsparse.experiment.works import HERE, Work, carried_out, seconds_in
from fedsparse.records import plain
from fedsparse.runfolder import read_summary
from fedsparse.tuning.grid import Method as Grid
from fedsparse.words import listed

__all__ = ["Study"]


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
        arms, tune = list(self._arms()), self.experiment.tune
        grids = [grid_of(self._words(a.panel, a.method), a.method.label, tune) for a in arms] if tune else []
        if tune is not None:
            check_budgets(arms, grids)
        self._pretrain(arms[0].config)
        self._do(list(self._preparations()), "runs that come first")
        if tune is not None:
            arms = self._tuned(arms, grids, tune)
        seeds = self.experiment.seeds
        arms = [replace(arm, works=[self._final(arm, seed) for seed in seeds]) for arm in arms]
        self._do([work for arm in arms for work in arm.works], "runs that are judged")
        return arms

    def curves(self, arms: Sequence[Arm]) -> list[Curve]:
        """The curves of the metric that is judged, less ``less``, and of what else statements and columns name.

        Raises:
            ConfigError: no run has one of them.
        """
        asked = self.experiment
        further = {trend.metric for trend in asked.expected if trend.metric} | set(asked.columns.values())
        found = [curve for arm in arms for curve in self._curves(arm, sorted(further - {asked.metric}))]
        for name in sorted(further - {curve.metric for curve in found}):
            raise ConfigError(
                f"{name}: no run has a metric of that name, nor a figure in its summary.json, such as "
                "scalars.NAME.mean or down_bytes"
            )
        return found

    def seconds(self) -> float:
        """Processor time of all runs in the folder, those with which values were chosen among them."""
        return math.fsum(seconds_in(path.parent) for path in self.runs.glob("**/rounds.jsonl"))

    def _curves(self, arm: Arm, further: Sequence[str]) -> Iterator[Curve]:
        asked, runs = self.experiment, arm.runs
        label = arm.panel.label, arm.method.label
        names = set.intersection(*(set(run.course.metrics) for run in runs))
        if asked.metric not in names:
            raise ConfigError(f"metric: {asked.metric}: {arm.label} has {listed(sorted(names))}")
        yield Curve.of(*label, runs, asked.metric, asked.against, asked.less)
        summaries = [read_summary(run.path) for run in runs]
        for name in further:
            if name in names:
                yield Curve.of(*label, runs, name, asked.against)
            elif (curve := Curve.of_ends(*label, runs, summaries, name, asked.against)) is not None:
                yield curve

    def _do(self, works: Sequence[Work], called: str) -> None:
        if works:
            self.note(f"{len(works)} {called}")
            carried_out(works, self.jobs, self.note)

    def _arms(self) -> Iterator[Arm]:
        for panel in self.experiment.panels:
            for method in self.experiment.methods:
                if panel.label not in method.without:
                    words = self._words(panel, method)
                    yield Arm(panel, method, configuration.parse([*words, *HERE]))

    def _words(self, panel: Panel, method: Method) -> list[str]:
        asked = self.experiment
        own = [*self._base_words(), *asked.task, *panel.words, *method.words, *asked.words, *self.words]
        for each in asked.prepare:
            # The model fills the seed in, so that runs that differ in nothing but the seed have one configuration.
            place = str(self._prepared(each) / "s{seed}")
            own = [word.replace(f"{{{each.name}}}", place) for word in own]
        return own

    def _prepared(self, each: Preparation) -> Path:
        return self.runs / "prepare" / each.name

    def _preparations(self) -> Iterator[Work]:
        asked = self.experiment
        where = [word for word in self.words if configuration.elsewhere(word.partition("=")[0])]
        for each in asked.prepare:
            config = configuration.parse([*each.words, *where, *HERE])
            for seed in dict.fromkeys([*(asked.tune.seeds if asked.tune else ()), *asked.seeds]):
                yield _work(each.name, self._prepared(each), config, seed)

    @property
    def _base(self) -> Path:
        return self.runs / "base"

    def _base_words(self) -> list[str]:
        if self.experiment.base is None:
            return []
        clients = self._base / "clients"
        return ["model=lora", f"model.base={self._base}", "data=arrays", f"data.folder={clients}"]

    def _pretrain(self, config: RunConfig) -> None:
        if self.experiment.base is not None:
            from fedsparse.experiment.pretraining import pretrained

            data_dir = None if config.data_dir is None else Path(config.data_dir)
            pretrained(self.experiment.base, data_dir, self._base, self.note)

    def _final(self, arm: Arm, seed: int) -> Work:
        work = _work(arm.label, self.runs / "final" / arm.slug, arm.config, seed)
        return work if arm.tuned is None else replace(work, tuning=plain(arm.tuned))

    def _tuned(self, arms: Sequence[Arm], grids: Sequence[Grid], tune: Tune) -> list[Arm]:
        trials = [list(self._trials(arm, grid, tune)) for arm, grid in zip(arms, grids, strict=True)]
        self._do([work for own in trials for work in own], "runs to choose values")
        every = zip(arms, grids, trials, strict=True)
        return [with_choice(arm, grid, works, tune) for arm, grid, works in every]

    def _trials(self, arm: Arm, grid: Grid, tune: Tune) -> Iterator[Work]:
        for number, setting in enumerate(grid.settings, start=1):
            folder = self.runs / "trials" / arm.slug / str(number)
            for seed in tune.seeds:
                yield _work(f"{arm.label} {setting.label}", folder, setting.config, seed)


def _work(label: str, folder: Path, config: configuration.RunConfig, seed: int) -> Work:
    return Work(f"{label}, seed {seed}", folder / f"s{seed}", placed(config, folder, seed))
