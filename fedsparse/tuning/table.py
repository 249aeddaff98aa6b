"""The table at the end of a tuning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from rich.table import Table

from fedsparse.config.specs import shown
from fedsparse.tuning.result import MethodResult, mean_std
from fedsparse.units import bytes_text, number_text

__all__ = ["table_of"]


def table_of(results: Sequence[MethodResult]) -> Table:
    """One line for each method: what was chosen, its score, and the test metric, mean and sample standard deviation."""
    judged = next((result.metric for result in results if result.metric), "score")
    tested = next((result.test_metric for result in results if result.reports), None) or "test"
    by_bytes = results[0].select == "bytes_to_target"
    with_target = any(r.summary and r.summary.target is not None for x in results for r in x.reports)
    seeds = shown([report.seed for report in next((x.reports for x in results if x.reports), ())])
    table = Table(
        caption=f"{tested}, up, down: means over report_seed={seeds}, ± sample deviation; trials: settings x seeds",
        caption_justify="left",
    )
    table.add_column("method", overflow="fold")
    table.add_column("chosen", overflow="fold")
    table.add_column(f"bytes to {judged}" if by_bytes else judged, justify="right")
    table.add_column(tested, justify="right")
    for heading in ("up", "down", *(["bytes to target"] if with_target else []), "trials"):
        table.add_column(heading, justify="right")
    for result in results:
        target = [_target(result)] if with_target else []
        up, down = (_mean_bytes(result, name) for name in ("up_bytes", "down_bytes"))
        trials = f"{len(result.scored)} x {len(result.seeds)}"
        table.add_row(
            result.method.name, *_choice(result, by_bytes), _test(result), up, down, *target, trials
        )
    return table


def _choice(result: MethodResult, by_bytes: bool) -> tuple[str, str]:
    chosen = result.chosen
    if chosen is None:
        return "nothing: all failed", ""
    return chosen.setting.label, bytes_text(chosen.score) if by_bytes else number_text(chosen.score)


def _test(result: MethodResult) -> str:
    diverged = sum(report.summary is None for report in result.reports)
    if diverged:
        return f"diverged ({diverged} of {len(result.reports)})"
    if not result.reports:
        return ""
    mean, std = mean_std(result.test)
    return number_text(mean) + (f" ± {number_text(std)}" if math.isfinite(std) else "")


def _mean_bytes(result: MethodResult, name: str) -> str:
    counts = [getattr(report.summary, name) for report in result.reports if report.summary]
    return bytes_text(fmean(counts)) if counts else ""


def _target(result: MethodResult) -> str:
    marks = [report.summary.reached for report in result.reports if report.summary]
    reached = [mark.up_bytes + mark.down_bytes for mark in marks if mark]
    if len(reached) < len(result.reports):
        return f"reached {len(reached)} of {len(result.reports)}"
    return bytes_text(fmean(reached)) if reached else ""
