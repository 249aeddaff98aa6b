"""Scores of runs, and which setting is chosen."""

from __future__ import annotations

import math

import pytest

from fedsparse.errors import ConfigError
from fedsparse.records import Record
from fedsparse.tuning.score import choice, metric_of, scored


def course(values: list[float], metric: str = "validation_accuracy") -> list[Record]:
    """A run that sends 10 bytes up and 5 down in each round."""
    return [
        Record(n, 0.0, 1, 1, traffic_total={"up_payload_bytes": 10 * (n + 1), "down_payload_bytes": 5 * (n + 1)},
               metrics={metric: value, "accuracy": 1 - value})
        for n, value in enumerate(values)
    ]  # fmt: skip


def test_final_is_the_last_value_and_best_the_best_one() -> None:
    records = course([0.2, 0.6, 0.5])
    assert scored(records, "final", "validation_accuracy", None) == ("finished", 0.5)
    assert scored(records, "best", "validation_accuracy", None) == ("finished", 0.6)
    assert scored(course([0.2, 0.6, 0.5], "validation_loss"), "best", "validation_loss", None)[1] == 0.2


def test_bytes_to_target_are_those_of_both_ways_when_the_validation_metric_is_there() -> None:
    assert scored(course([0.2, 0.6, 0.5]), "bytes_to_target", "validation_accuracy", 0.55) == (
        "finished",
        30.0,
    )


def test_a_target_that_is_missed_and_a_number_that_is_none_have_failed() -> None:
    for outcome, score in (
        scored(course([0.2, 0.6]), "bytes_to_target", "validation_accuracy", 0.9),
        scored(course([0.2, math.nan]), "final", "validation_accuracy", None),
    ):
        assert outcome == "missed"
        assert math.isnan(score)


def test_the_highest_accuracy_is_chosen_and_the_lowest_loss_and_the_fewest_bytes() -> None:
    assert choice([0.1, 0.3, 0.2], "final", "validation_accuracy") == 1
    assert choice([0.2, 0.3, 0.1], "final", "validation_loss") == 2
    assert choice([20.0, 10.0, 30.0], "bytes_to_target", "validation_accuracy") == 1


def test_of_equal_ones_the_first_is_chosen() -> None:
    assert choice([0.1, 0.3, 0.3], "final", "validation_accuracy") == 1
    assert choice([0.1, 0.1, 0.3], "final", "distance") == 0


def test_what_failed_loses_against_everything() -> None:
    assert choice([math.nan, 0.0], "final", "validation_accuracy") == 1
    assert choice([math.nan, math.nan], "final", "validation_accuracy") is None


def test_the_metric_is_of_the_validation_part_where_there_is_one() -> None:
    names = {"accuracy", "loss", "validation_accuracy", "validation_loss"}
    assert metric_of(names, None) == "validation_accuracy"
    assert metric_of({"loss", "validation_loss"}, None) == "validation_loss"
    assert metric_of(names, "validation_loss") == "validation_loss"
    with pytest.raises(ConfigError, match="metric=accuracy: is not evaluated"):
        metric_of(names, "accuracy")


def test_a_problem_is_judged_by_its_own_metric() -> None:
    assert metric_of({"distance"}, None) == "distance"
    with pytest.raises(ConfigError, match="nothing is evaluated"):
        metric_of(set(), None)
