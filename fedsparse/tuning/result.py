"""What a tuning came to, for each method: scores, the choice, and how the chosen values did on the test part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from fedsparse.data.validation import VALIDATION
from fedsparse.records import plain
from fedsparse.summary import Summary, headline
from fedsparse.tuning.fairness import Tuned, unlike
from fedsparse.tuning.grid import Method, Setting, edges
from fedsparse.tuning.score import Trial, choice

__all__ = ["MethodResult", "Report", "Scored", "mean_std", "warnings_of"]


@dataclass(frozen=True)
class Scored:
    """A setting and its trials, one for each seed."""

    setting: Setting
    trials: Sequence[Trial]

    @property
    def score(self) -> float:
        """The mean over the seeds; NaN where one of them failed."""
        return fmean(trial.score for trial in self.trials)


@dataclass(frozen=True)
class Report:
    """A run with the chosen values.

    Attributes:
        run: its folder, in that of the tuning.
        seed: its seed.
        summary: ``None`` where it diverged.
    """

    run: str
    seed: int
    summary: Summary | None


@dataclass(frozen=True)
class MethodResult:
    """A method, all its trials, and the runs with what was chosen.

    Attributes:
        method: what was tried.
        scored: its settings.
        select: the criterion.
        metric: what was judged.
        seeds: of the trials.
        reports: empty until they were run, and where every setting failed.
    """

    method: Method
    scored: Sequence[Scored]
    select: str
    metric: str
    seeds: Sequence[int]
    reports: Sequence[Report] = ()

    @property
    def chosen(self) -> Scored | None:
        """The best setting; ``None`` where all of them failed."""
        at = choice([scored.score for scored in self.scored], self.select, self.metric)
        return None if at is None else self.scored[at]

    @property
    def tuned(self) -> Tuned | None:
        """What the runs with the chosen values carry."""
        chosen = self.chosen
        if chosen is None:
            return None
        return Tuned(
            grid=self.method.grid,
            trials=len(self.scored),
            seeds=list(self.seeds),
            select=self.select,
            metric=self.metric,
            chosen=chosen.setting.values,
            score=chosen.score,
        )

    @property
    def test_metric(self) -> str | None:
        """What is reported: the headline of the test part, or what was judged where there is no validation part."""
        if not self.metric.startswith(VALIDATION):
            return self.metric
        names = {name for report in self.reports if report.summary for name in report.summary.final}
        return headline(name for name in names if not name.startswith(VALIDATION))

    @property
    def test(self) -> list[float]:
        """The test metric at the end of each report run; NaN where it diverged."""
        return [
            report.summary.final[self.test_metric or ""] if report.summary else math.nan
            for report in self.reports
        ]

    @property
    def warnings(self) -> list[str]:
        """What a reader should know about the choice, a sentence each."""
        name, chosen = self.method.name, self.chosen
        if chosen is None:
            return [*self.failures, f"{name}: no setting worked with all seeds; nothing is chosen"]
        values = chosen.setting.values
        return self.failures + [
            f"{name}: {key}={values[key]} lies on the edge of the grid; a better value may lie beyond it"
            for key in edges(self.method.grid, values)
        ]

    @property
    def failures(self) -> list[str]:
        """That runs failed, if any did, in a sentence."""
        failed = sum(trial.outcome != "finished" for scored in self.scored for trial in scored.trials)
        runs = len(self.scored) * len(self.seeds)
        return (
            [f"{self.method.name}: {failed} of {runs} runs diverged or missed the target"] if failed else []
        )

    def plain(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        tuned, test = self.tuned, self.test
        return {
            "method": self.method.name,
            "tuning": tuned and plain(tuned),
            "settings": [
                {
                    "values": dict(scored.setting.values),
                    "score": scored.score if math.isfinite(scored.score) else None,
                    "trials": [plain(trial) for trial in scored.trials],
                }
                for scored in self.scored
            ],
            "report": [_plain(report) for report in self.reports],
            "test": {"metric": self.test_metric, **_plain_mean(test)},
        }


def warnings_of(results: Sequence[MethodResult]) -> list[str]:
    """What a reader should know about the choices, and about comparing the methods, a sentence each."""
    tunings = {result.method.name: result.tuned for result in results}
    unfair = unlike({name: plain(tuned) for name, tuned in tunings.items() if tuned})
    return [warning for result in results for warning in result.warnings] + unfair


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (of n - 1); NaN where there are no values, or for the latter only one."""
    mean = fmean(values) if values else math.nan
    return mean, stdev(values) if len(values) > 1 and math.isfinite(mean) else math.nan


def _plain_mean(values: Sequence[float]) -> dict[str, float | None]:
    """:func:`mean_std` as JSON holds it."""
    mean, std = mean_std(values)
    return {"mean": mean if math.isfinite(mean) else None, "std": std if math.isfinite(std) else None}


def _plain(report: Report) -> dict[str, Any]:
    summary = report.summary
    outcome = {} if summary is None else {
        "metrics": plain(summary)["final"], "up_bytes": summary.up_bytes, "down_bytes": summary.down_bytes,
    }  # fmt: skip
    return {"run": report.run, "seed": report.seed, **outcome}
