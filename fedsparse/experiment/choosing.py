"""How values are chosen: every method has as many trials, and the best by the validation part stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fedsparse.errors import ConfigError, Diverged
from fedsparse.experiment.arms import Arm
from fedsparse.experiment.form import Tune
from fedsparse.experiment.works import HERE, Work
from fedsparse.records import Record
from fedsparse.runfolder import read_rounds
from fedsparse.tuning.grid import Method, method
from fedsparse.tuning.result import MethodResult, Scored
from fedsparse.tuning.score import Trial, metric_of, scored
from fedsparse.words import listed

__all__ = ["check_budgets", "grid_of", "with_choice"]


def grid_of(words: Sequence[str], label: str, tune: Tune) -> Method:
    """What is tried for a method of an experiment, whose runs have these words."""
    every = [*words, f"validation={tune.validation}", *HERE]
    (name,) = [word.removeprefix("strategy=") for word in every if word.startswith("strategy=")][-1:]
    others = [word for word in every if not word.startswith("strategy=")]
    return method(name, [*others, *tune.words(label)])


def check_budgets(arms: Sequence[Arm], grids: Sequence[Method]) -> None:
    """Every method has as many trials.

    Raises:
        ConfigError: they have not.
    """
    budgets = {arm.label: len(grid.settings) for arm, grid in zip(arms, grids, strict=True)}
    if len(set(budgets.values())) > 1:
        counted = listed([f"{label} {count}" for label, count in budgets.items()])
        raise ConfigError(f"tune: methods have different numbers of trials ({counted}); give them as many")


def with_choice(arm: Arm, grid: Method, works: Sequence[Work], tune: Tune) -> Arm:
    """The method with the best values.

    Args:
        arm: the method.
        grid: what was tried.
        works: the runs with it, in the order of settings, then seeds.
        tune: how values are judged.

    Raises:
        Diverged: no value worked with all seeds.
    """
    result = _result(grid, works, tune)
    chosen = result.chosen
    if chosen is None:
        raise Diverged(f"{arm.label}: no value of the grid worked with all seeds; give others")
    name = result.method.name
    return replace(
        arm,
        config=replace(chosen.setting.config, validation=arm.config.validation),
        tuned=result.tuned,
        warnings=[warning.replace(f"{name}:", f"{arm.label}:", 1) for warning in result.failures],
    )


def _result(grid: Method, works: Sequence[Work], tune: Tune) -> MethodResult:
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
