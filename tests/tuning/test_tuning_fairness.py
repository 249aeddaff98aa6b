"""Tuned and untuned results are not compared silently."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from fedsparse.errors import ConfigError
from fedsparse.records import plain
from fedsparse.summary import summarise
from fedsparse.sweep import Outcome, table_of
from fedsparse.tuning import Tuned, refuse_unlike, unlike

LR = Tuned(
    grid={"strategy.lr": [0.1, 0.2]},
    trials=2,
    seeds=[0, 1],
    select="final",
    metric="validation_accuracy",
    chosen={"strategy.lr": 0.2},
    score=0.9,
)


def found(**others: Any) -> list[str]:
    """What is unlike between a method tuned as above, and one with other values."""
    return unlike({"a": plain(LR), "b": plain(replace(LR, **others))})


def test_methods_that_were_tuned_alike_may_be_compared_whatever_was_chosen() -> None:
    assert found(chosen={"strategy.lr": 0.1}, score=0.5) == []


def test_untuned_results_may_be_compared() -> None:
    assert unlike({"a": None, "b": None}) == []


def test_tuned_against_untuned_is_told() -> None:
    assert unlike({"a": plain(LR), "b": None, "c": None}) == [
        "tuned (a) and untuned (b, c) results are compared"
    ]


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        ({"trials": 4}, "tuned with different numbers of trials: 2 (a) against 4 (b)"),
        ({"seeds": [0]}, "tuned with different tuning seeds: [0,1] (a) against [0] (b)"),
        ({"select": "best"}, "tuned with different criteria: final (a) against best (b)"),
        ({"metric": "loss"}, "tuned with different metrics: validation_accuracy (a) against loss (b)"),
        (
            {"grid": {"strategy.lr": [0.1, 0.5]}},
            "tuned with different grids of strategy.lr: [0.1,0.2] (a) against [0.1,0.5] (b)",
        ),
    ],
)
def test_what_was_tuned_in_another_way_is_told(others: dict[str, Any], sentence: str) -> None:
    assert found(**others) == [sentence]


def test_a_key_that_others_lack_is_fair_with_as_many_trials() -> None:
    assert found(grid={"strategy.lr": [0.1, 0.2], "strategy.beta": [0.5]}) == []


def test_the_refusal_says_what_is_unlike() -> None:
    refuse_unlike({"a": plain(LR), "b": plain(LR)})
    with pytest.raises(ConfigError, match=r"tuned \(a\) and untuned \(b\).*; tune all of them"):
        refuse_unlike({"a": plain(LR), "b": None})


def shown(*tunings: dict[str, Any] | None) -> str:
    summaries = [replace(summarise([]), tuning=tuning) for tuning in tunings]
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table_of([Outcome(f"run{n}", 0, summary) for n, summary in enumerate(summaries)]))
    return " ".join(capture.get().split())


def test_the_table_of_a_sweep_tells_tuned_from_untuned() -> None:
    assert "tuned (run0) and untuned (run1) results are compared" in shown(plain(LR), None)
    assert "tuned" not in shown(None, None)
    assert "tuned" not in shown(plain(LR), plain(LR))
