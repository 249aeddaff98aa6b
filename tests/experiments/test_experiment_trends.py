"""What an experiment expects: statements about curves, and how they are judged."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fedsparse.errors import ConfigError
from fedsparse.experiment.curve import Curve, from_csv, to_csv
from fedsparse.experiment.trends import Seen, Trend, status


def curve(method: str, mean: list[float], metric: str = "loss", spread: float = 0.0, **more) -> Curve:
    """A curve that costs 10 bytes an evaluation."""
    values = np.array(mean)
    steps = np.arange(1, len(mean) + 1)
    return Curve(
        "", method, metric, 5 * steps, 10.0 * steps, values - spread, values, values + spread, **more
    )


FAST = curve("fast", [0.5, 0.2, 0.1])
SLOW = curve("slow", [0.9, 0.6, 0.4, 0.05])


def judged(trend: Trend) -> bool:
    (seen,) = trend.seen([FAST, SLOW], "loss", "up_bytes")
    return seen.holds


def test_the_end_is_held_against_a_number() -> None:
    assert judged(Trend("fast", below=0.11))
    assert not judged(Trend("fast", below=0.1))
    assert judged(Trend("fast", above=0.09))


def test_the_end_is_held_against_that_of_another_method() -> None:
    assert judged(Trend("slow", below="fast"))
    assert not judged(Trend("slow", below="fast", times=0.5))  # 0.05 against 0.05
    assert judged(Trend("fast", below="slow", plus=0.06))  # 0.1 against 0.11


def test_at_equal_cost_is_at_the_total_of_the_cheaper_one() -> None:
    # After 30 bytes it is 0.1 against 0.4, though the slow one ends lower.
    assert judged(Trend("fast", below="slow", at="equal"))
    assert not judged(Trend("fast", below="slow"))


@pytest.mark.parametrize(("dearer", "counts"), [(1.009, True), (1.02, False)])
def test_lengths_that_differ_by_less_than_a_hundredth_are_equal_cost(dearer: float, counts: bool) -> None:
    # The last evaluation of the other one, 0.05, is bought with 30.27 or 30.6 bytes where this one has spent 30.
    other = curve("other", [0.9, 0.6, 0.05])
    other = replace(other, cost=dearer * other.cost)
    (seen,) = Trend("fast", above="other", at="equal").seen([FAST, other], "loss", "up_bytes")
    assert seen.holds == counts
    exact = Trend("fast", above="other", at="30B").seen([FAST, other], "loss", "up_bytes")
    assert not exact[0].holds


def test_a_budget_counts_the_last_evaluation_within_it() -> None:
    assert judged(Trend("fast", above=0.49, at="19B"))
    assert judged(Trend("fast", below=0.21, at=20))


def test_to_a_value_is_the_cost_until_all_seeds_are_there() -> None:
    wide = curve("wide", [0.5, 0.2, 0.1], spread=0.15)
    assert (FAST.to(0.2), wide.to(0.36), wide.to(0.2)) == (20.0, 20.0, math.inf)
    assert judged(Trend("fast", to=0.4, below="slow"))
    assert not judged(Trend("fast", to=0.4, below="slow", times=0.5))  # 20 against 15


def test_more_accuracy_is_better_and_less_loss() -> None:
    rising = curve("a", [0.2, 0.8, 0.9], metric="accuracy")
    assert rising.to(0.8) == 20.0
    assert (curve("a", [1.0], "accuracy", diverged=True).end, curve("a", [1.0], diverged=True).end) == (
        -math.inf,
        math.inf,
    )


def test_a_method_without_value_holds_nothing() -> None:
    assert not judged(Trend("fast", below=1.0, at="5B"))
    assert not judged(Trend("fast", above=0.0, at="5B"))


def test_the_statement_says_both_figures() -> None:
    (seen,) = Trend("fast", to=0.4, below="slow", times=2).seen([FAST, SLOW], "loss", "up_bytes")
    says = "fast: bytes sent by clients to loss 0.4 below 2 times slow"
    assert seen == Seen(says, "20 B against 60 B", holds=True)


def test_the_status_is_that_of_all_statements() -> None:
    yes, no = Seen("", "", holds=True), Seen("", "", holds=False)
    found = [status(every) for every in ([], [yes], [yes, no], [no])]
    assert found == ["not judged", "holds", "partly", "does not hold"]


@pytest.mark.parametrize(
    ("trend", "said"),
    [
        (Trend("fast"), "one of below and above"),
        (Trend("fast", below=1.0, above=0.0), "one of below and above"),
        (Trend("fats", below=1.0), "did you mean 'fast'"),
        (Trend("fast", below="slwo"), "did you mean 'slow'"),
        (Trend("fast", below=1.0, panel="ring"), "panel 'ring'"),
        (Trend("fast", below=1.0, at="10 apples"), "amount"),
        (Trend("fast", below=1.0, at="equal"), "another method"),
        (Trend("fast", below=1.0, at="10B", to=1.0), "not both"),
    ],
)
def test_what_makes_no_sense_is_refused(trend: Trend, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        trend.check(["fast", "slow"], [""], "x.yaml")


def test_curves_survive_their_file_in_all_digits() -> None:
    odd = curve("odd, with a comma", [1 / 3, 0.1 + 0.2], spread=1e-17)
    (again,) = from_csv(to_csv([odd]))
    for name in ("rounds", "cost", "low", "mean", "high"):
        assert getattr(again, name).tolist() == getattr(odd, name).tolist()
    assert again.method == odd.method
