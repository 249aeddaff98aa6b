import json
import math

import pytest

from fedsparse.records import Record, lower_is_better, plain
from fedsparse.summary import Mark, headline, summarise


def traffic(rounds: int) -> dict[str, int]:
    return {"up_payload_bytes": 10 * rounds, "down_header_bytes": rounds, "up_dense_bytes": 22 * rounds}


def run(metric: str, values: list[float | None]) -> list[Record]:
    return [
        Record(
            round=number - 1,
            virtual_s=2.0 * number,
            cohort=1,
            accepted=1,
            traffic_total=traffic(number),
            gradient_calls=3,
            examples=60,
            metrics={} if value is None else {metric: value},
            wall_s=0.5,
        )
        for number, value in enumerate(values, start=1)
    ]


def test_totals_are_those_of_the_last_round_or_the_sum():
    summary = summarise(run("accuracy", [0.1, None, 0.3]))
    assert (summary.rounds, summary.virtual_s, summary.wall_s) == (3, 6.0, 1.5)
    assert (summary.up_bytes, summary.down_bytes, summary.ratio) == (30, 3, 2.0)
    assert (summary.gradient_calls, summary.examples) == (9, 180)


def test_the_final_metric_is_the_last_one_evaluated():
    assert summarise(run("accuracy", [0.1, 0.4, 0.3, None])).final == {"accuracy": 0.3}


def test_each_metric_is_final_when_it_was_last_evaluated():
    records = run("accuracy", [0.5]) + run("loss", [0.2])
    assert summarise(records).final == {"accuracy": 0.5, "loss": 0.2}


def test_the_best_accuracy_is_the_highest():
    assert summarise(run("accuracy", [0.1, 0.4, 0.3])).best == {"accuracy": 0.4}


def test_the_best_loss_is_the_lowest_finite_one():
    assert summarise(run("test_loss", [2.0, math.nan, 0.4, math.inf, 0.6])).best == {"test_loss": 0.4}


def test_a_metric_that_was_never_finite_has_no_best():
    assert math.isnan(summarise(run("loss", [math.nan])).best["loss"])


def test_a_target_is_reached_by_the_first_round_that_meets_it():
    assert summarise(run("accuracy", [0.1, None, 0.3, 0.9]), target=0.3).reached == Mark(3, 6.0, 30, 3)


def test_a_loss_meets_its_target_from_above():
    assert summarise(run("loss", [2.0, 0.5, 0.1]), target=0.5).reached == Mark(2, 4.0, 20, 2)


def test_a_diverged_metric_reaches_nothing():
    assert summarise(run("accuracy", [math.nan]), target=0.0).reached is None


def test_a_target_on_a_metric_that_is_not_evaluated_is_not_reached():
    assert summarise(run("accuracy", [0.9]), target=0.3, metric="recall").reached is None


def test_a_run_without_rounds_has_a_summary():
    summary = summarise([], target=0.5)
    assert (summary.rounds, summary.up_bytes, summary.metric, summary.reached) == (0, 0, None, None)


def test_a_summary_is_valid_json():
    text = json.dumps(plain(summarise(run("loss", [math.nan]), target=0.5)))
    values = json.loads(text, parse_constant=pytest.fail)
    assert (values["best"]["loss"], values["reached"]) == (None, None)


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        (["loss", "accuracy", "a_accuracy"], "accuracy"),
        (["loss", "mean_accuracy"], "mean_accuracy"),
        (["loss", "distance"], "distance"),
        (["gap", "operator_norm", "distance"], "distance"),
        (["loss", "operator_norm"], "operator_norm"),
        (["operator_norm", "robust_accuracy", "accuracy"], "accuracy"),
        ([], None),
    ],
)
def test_the_headline_is_accuracy_or_else_how_far_the_solution_is(metrics, shown):
    assert headline(metrics) == shown


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        ("test_loss", True),
        ("distance", True),
        ("gradient norm", True),
        ("operator_norm", True),
        ("gap", True),
        ("personal_accuracy_spread", True),
        ("accuracy", False),
        ("normalised", False),
    ],
)
def test_the_direction_of_a_metric_is_in_the_words_of_its_name(metric, lower):
    assert lower_is_better(metric) == lower
