"""Runs a tuning: every trial, the choice, the runs with the chosen values. What is finished is not run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fedsparse import config as configuration
from fedsparse.config import RunConfig
from fedsparse.errors import ConfigError, Diverged, Interrupted, RunFolderError
from fedsparse.interrupts import Interrupts
from fedsparse.records import Record, plain
from fedsparse.runfolder import read_rounds, read_summary
from fedsparse.summary import summarise
from fedsparse.theory import FromTheory
from fedsparse.tuning.asked import Tuning
from fedsparse.tuning.folder import TuningFolder
from fedsparse.tuning.grid import Method, Setting
from fedsparse.tuning.result import MethodResult, Report, Scored, warnings_of
from fedsparse.tuning.score import Trial, metric_of, scored
from fedsparse.words import listed
from fedsparse.workers import Workers

__all__ = ["Tuner", "check_data", "check_same"]


def check_data(task: RunConfig) -> str | None:
    """What is to be said about how settings are judged, before anything is run.

    Raises:
        ConfigError: there are examples, and none of them is held back; or there are none to hold back.
        DataError: a file is missing or damaged.
    """
    from fedsparse.data import Dataset
    from fedsparse.parts import check_nothing_held_back, loaded

    if isinstance(loaded(task), Dataset):
        if task.validation:
            return None
        raise ConfigError(
            "validation=0: values must not be chosen on the test part; hold back a share of the training examples, "
            "as in validation=0.1"
        )
    check_nothing_held_back(task)
    return (
        f"data={task.data.name} has no examples to hold back: settings are judged by the problem's own metric"
    )


@dataclass
class Tuner:
    """One tuning, from its first or its next run to its end.

    Args:
        tuning: what is to be done.
        folder: where.
        workers: stay open from one run to the next.
        elsewhere: ``key=value`` about where runs take place, for those that are resumed.
        note: is told which run comes next.
    """

    tuning: Tuning
    folder: TuningFolder
    workers: Workers
    elsewhere: Sequence[str]
    note: Callable[[str], None]
    _number: int = field(default=0, init=False)
    _interrupts: Interrupts = field(init=False)

    def __post_init__(self) -> None:
        self._interrupts = Interrupts(self.workers.close)

    def go(self) -> list[MethodResult]:
        """The result of each method; it is also in ``tuned.json``.

        Raises:
            Interrupted: a signal stopped it; says how to go on.
            FedSparseError: a run failed other than by diverging.
        """
        with self._interrupts:
            tried = [self._tried(method) for method in self.tuning.methods]
            results = [replace(result, reports=list(self._reports(result))) for result in tried]
        self.folder.result = {
            "options": plain(self.tuning.options),
            "methods": [result.plain() for result in results],
            "warnings": warnings_of(results),
        }
        self.folder.save()
        return results

    def _tried(self, method: Method) -> MethodResult:
        metric = self.tuning.options.metric
        found = []
        for number, setting in enumerate(method.settings, start=1):
            trials = []
            for seed in self.tuning.options.seed:
                name = f"trials/{method.slug}-{number}-s{seed}"
                label = f"{method.name} {setting.label}"
                records = self._records(name, label, self._config(setting, seed, name), None)
                trial, metric = self._trial(name, seed, records, metric)
                trials.append(trial)
            found.append(Scored(setting, trials))
        options = self.tuning.options
        return MethodResult(method, found, options.select, metric or "", options.seed)

    def _trial(
        self, run: str, seed: int, records: Sequence[Record] | None, wanted: str | None
    ) -> tuple[Trial, str | None]:
        """The trial, and the metric that it was judged by."""
        if records is None:
            return Trial(run, seed, "diverged"), wanted
        metric = metric_of({name for record in records for name in record.metrics}, wanted)
        outcome, score = scored(records, self.tuning.options.select, metric, self.tuning.task.target)
        return Trial(run, seed, outcome, score), metric

    def _reports(self, result: MethodResult) -> Iterator[Report]:
        chosen, tuned = result.chosen, result.tuned
        if chosen is None or tuned is None:
            return
        for seed in self.tuning.options.report_seed:
            name = f"report/{result.method.slug}-s{seed}"
            config = self._config(chosen.setting, seed, name)
            label = f"chosen: {result.method.name} {chosen.setting.label}"
            records = self._records(name, label, config, plain(tuned))
            summary = None if records is None else summarise(records, config.target)
            yield Report(name, seed, summary)

    def _config(self, setting: Setting, seed: int, run: str) -> RunConfig:
        path = self.folder.path / run
        return replace(setting.config, seed=seed, runs=str(path.parent), name=path.name)

    # ---- one run

    def _records(
        self, name: str, label: str, config: RunConfig, tuning: Mapping[str, Any] | None
    ) -> list[Record] | None:
        """The rounds of a run, which is begun, gone on with, or only read; ``None`` where it diverged."""
        self._number += 1
        if name not in self.folder.diverged:
            path = self.folder.path / name
            begun = (path / "config.yaml").exists()
            if begun:
                check_same(path, config)
            if not begun or read_summary(path) is None:
                self._stop_if_asked()
                self.note(f"[{self._number}/{self.tuning.runs}] {label} seed={config.seed}")
                resumed = configuration.parse([*self.elsewhere, f"resume={path}"]) if begun else config
                self._run(name, resumed, tuning)
        if name in self.folder.diverged:
            return None
        return [Record.of(values) for values in read_rounds(self.folder.path / name)]

    def _run(self, name: str, config: RunConfig, tuning: Mapping[str, Any] | None) -> None:
        from fedsparse.recorded import run

        try:
            run(config, workers=self.workers, tuning=tuning)
        except Diverged as error:
            self.note(f"counts as failed: {error}")
            self.folder.diverged.append(name)
            self.folder.save()
        except Interrupted:
            self._stop_if_asked()
            raise

    def _stop_if_asked(self) -> None:
        if self._interrupts.asked is not None:
            raise Interrupted(
                f"stopped by {self._interrupts.asked.name} in run {self._number} of {self.tuning.runs}; go on with: "
                f"python -m fedsparse.tune resume={self.folder.path}"
            )


def check_same(path: Path, config: RunConfig) -> None:
    """Refuses a run folder with another configuration than what is asked, but for where it runs."""
    text = (path / "config.yaml").read_text(encoding="utf-8")
    there, asked = configuration.from_yaml(text), configuration.flat(config)
    # A value that was left to theory is a number there.
    settled = {key for key in configuration.from_theory(text) if asked[key] == str(FromTheory())}
    differing = {line.partition("=")[0]: line for line in configuration.differences(there, config)}
    wrong = [
        line for key, line in differing.items() if key not in settled and not configuration.elsewhere(key)
    ]
    if wrong:
        raise RunFolderError(
            f"{path}: holds another run than what is asked: {listed(wrong)}. Give another folder."
        )
