"""Groups, budgets, targets, the front, warnings and advice."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from report_cases import made, method, three

from fedsparse.errors import ConfigError
from fedsparse.report.advice import advice, value_text
from fedsparse.report.asked import Asked
from fedsparse.report.axes import AXES
from fedsparse.report.comparison import Comparison, compare
from fedsparse.report.course import Run
from fedsparse.report.groups import grouped
from fedsparse.report.reading import read_run

CLEAR = [0.90, 0.91, 0.92]
CLOSE = [0.91, 0.90, 0.93]
LOW = [0.50, 0.52, 0.51]


def asked(**options: object) -> Asked:
    return replace(Asked([]), **options)


def one(runs: list[Run], **options: object) -> Comparison:
    return compare(runs, [], asked(**options))


# ---- groups


def labels(runs: list[Run]) -> list[str]:
    return [group.label for group in grouped(runs)[0]]


def test_runs_that_differ_in_the_seed_are_a_group(tmp_path: Path):
    groups, repeated = grouped(three(tmp_path, "fedavg", CLEAR))
    assert [[run.seed for run in group.runs] for group in groups] == [[0, 1, 2]]
    assert repeated == []


def test_a_group_is_called_by_no_more_than_sets_it_apart(tmp_path: Path):
    runs = three(tmp_path, "fedavg", CLEAR) + three(tmp_path, "topk", CLEAR)
    for number, lr in enumerate((0.1, 0.2)):
        runs.append(read_run(made(tmp_path / f"own-{number}", [0.5], **method("/a/b/own.py:Mine", lr=lr))))
    assert labels(runs) == ["fedavg", "topk", "own.py:Mine lr=0.1", "own.py:Mine lr=0.2"]


def test_where_runs_took_place_sets_nothing_apart(tmp_path: Path):
    engine = {
        "engine": {"name": "ray", "options": {"workers": 8}},
        "name": "x",
        "eval_every": 3,
        "wire": "encode",
    }
    runs = [read_run(made(tmp_path / "a", [0.5])), read_run(made(tmp_path / "b", [0.5], seed=1, **engine))]
    assert labels(runs) == ["all"]


def test_an_engine_without_blocks_is_as_one_that_chooses_them(tmp_path: Path):
    """Flower's engine has no option ``block``; the others write ``null`` where nobody gave a size."""
    local = {"name": "local", "options": {"workers": 1, "block": None}}
    flower = {"name": "flower", "options": {"clock": "virtual"}}
    given = {"name": "local", "options": {"workers": 1, "block": 5}}
    runs = [
        read_run(made(tmp_path / str(seed), [0.5], seed=seed, engine=engine))
        for seed, engine in enumerate((local, flower))
    ]
    assert labels(runs) == ["all"]
    # A size that was given may change the bits, and sets apart.
    runs.append(read_run(made(tmp_path / "2", [0.5], seed=2, engine=given)))
    assert len(labels(runs)) == 2


def test_a_seed_counts_once_and_a_finished_run_before_one_that_is_not(tmp_path: Path):
    first = read_run(made(tmp_path / "first", [0.5]))
    again = read_run(made(tmp_path / "again", [0.5], finished=False))
    groups, repeated = grouped([first, again])
    assert groups[0].runs == [first]
    assert [unread.path for unread in repeated] == [again.path]


# ---- budgets, targets, the front


def test_a_value_within_a_budget_is_that_of_the_last_evaluation_it_paid_for(tmp_path: Path):
    course = read_run(made(tmp_path / "run", [0.1, 0.2, 0.3])).course
    spent = [course.within("up_bytes", budget, "accuracy") for budget in (999, 1000, 2999, 1e9)]
    assert spent == pytest.approx([math.nan, 0.1, 0.2, 0.3], nan_ok=True)


def test_the_best_is_found_and_what_is_within_noise(tmp_path: Path):
    c = one(three(tmp_path, "a", CLEAR) + three(tmp_path, "b", CLOSE) + three(tmp_path, "c", LOW))
    assert c.ends.order == [1, 0, 2]
    # Differences 0.41, 0.38, 0.42: mean 0.4033, s 0.02082, t 33.56 of two degrees, p 0.000887, twice that after Holm.
    assert c.ends.p == pytest.approx([0.667, math.nan, 0.001773], rel=0.01, nan_ok=True)
    assert [c.ends.within_noise(place) for place in range(3)] == [True, False, False]


def test_only_seeds_that_both_have_are_tested(tmp_path: Path):
    c = one(three(tmp_path, "a", CLEAR) + three(tmp_path, "b", [0.1]))
    assert math.isnan(c.ends.p[1])
    assert c.ends.within_noise(1)


def test_of_a_loss_less_is_better(tmp_path: Path):
    small, large = (made(tmp_path / n, [v], metric="loss", **method(n)) for n, v in (("s", 0.1), ("l", 0.2)))
    assert one([read_run(large), read_run(small)]).ends.leader == 1


def test_a_target_that_all_seeds_reached_has_a_mean_and_another_its_censored_runs(tmp_path: Path):
    c = one(three(tmp_path, "a", CLEAR) + three(tmp_path, "b", [0.5, 0.91, 0.95]), target=0.9)
    up = AXES["up_bytes"]
    # a ends at 0.90, 0.91 and 0.92: all get there with the fourth round of 1000 bytes.
    assert c.needed(c.groups[0], up).text(up) == "4.00 kB ± 0 B"
    assert c.needed(c.groups[1], up).text(up) == "median 4.00 kB, 2 of 3"


def test_a_target_that_nobody_reached_has_what_was_spent_in_vain(tmp_path: Path):
    c = one(three(tmp_path, "a", LOW), target=0.9)
    rounds = AXES["rounds"]
    assert c.needed(c.groups[0], rounds).text(rounds) == "over 4, 0 of 3"


def test_the_target_is_that_of_the_runs_if_they_have_one_in_common(tmp_path: Path):
    same = [read_run(made(tmp_path / f"a{seed}", [0.5], seed=seed, target=0.4)) for seed in (0, 1)]
    assert one(same).target == 0.4
    assert one([*same, read_run(made(tmp_path / "b", [0.5], target=0.3, **method("b")))]).target is None


def test_the_front_is_who_no_other_has_reached_with_less(tmp_path: Path):
    cheap = read_run(made(tmp_path / "cheap", [0.3, 0.5, 0.5, 0.5], **method("cheap")))
    dear = read_run(made(tmp_path / "dear", [0.4, 0.6, 0.8, 0.9], up=3000, **method("dear")))
    never = read_run(made(tmp_path / "never", [0.2, 0.2, 0.2, 0.2], **method("never")))
    c = one([cheap, dear, never])
    # cheap: 0.3 at 1 kB, 0.5 at 2 kB; dear: 0.4 at 3 kB, 0.6 at 6 kB.
    assert [(c.groups[s.group].label, s.start, s.end) for s in c.front] == [
        ("cheap", 1000, 6000),
        ("dear", 6000, math.inf),
    ]


def test_budgets_that_nobody_gave_are_round_numbers_of_what_was_spent(tmp_path: Path):
    assert one(three(tmp_path, "a", CLEAR)).budgets == [1000, 2000]
    runs = [*three(tmp_path, "b", CLEAR), read_run(made(tmp_path / "c", [0.5, 0.6], up=10**6, **method("c")))]
    assert one(runs).budgets == [1000, 5000, 20_000, 100_000, 500_000, 2_000_000]


# ---- what counts


def test_runs_that_have_not_ended_are_left_out_unless_asked_for(tmp_path: Path):
    runs = [
        *three(tmp_path, "a", CLEAR),
        read_run(made(tmp_path / "b", [0.5], finished=False, **method("b"))),
    ]
    c = one(runs)
    assert [unread.reason for unread in c.left_out] == ["not finished: 1 of 1 rounds"]
    assert [group.label for group in one(runs, unfinished=True).groups] == ["a", "b"]


def test_runs_that_have_not_ended_count_where_there_are_no_others(tmp_path: Path):
    run = read_run(made(tmp_path / "a", [0.5, 0.6], finished=False))
    assert one([run]).ends.estimates[0].mean == 0.6


def test_a_curve_goes_as_far_as_all_of_its_seeds(tmp_path: Path):
    runs = [read_run(made(tmp_path / f"{n}", [0.5] * n, seed=n, rounds=3, finished=False)) for n in (2, 3)]
    (curve,) = one(runs).curves
    assert curve.costs["rounds"].tolist() == [1, 2]


def test_values_that_runs_must_have(tmp_path: Path):
    runs = three(tmp_path, "a", CLEAR) + three(tmp_path, "b", CLOSE)
    assert [g.label for g in one(runs, where=[("strategy", "b"), ("seed", "1")]).groups] == ["all"]
    with pytest.raises(ConfigError, match="did you mean 'strategy'"):
        one(runs, where=[("strateg", "b")])


def test_runs_without_a_metric_in_common_are_told_apart(tmp_path: Path):
    a, b = made(tmp_path / "a", [0.5]), made(tmp_path / "b", [0.5], metric="distance", **method("b"))
    for folder in (a, b):
        text = (folder / "rounds.jsonl").read_text().replace('"train_loss": 1.0', '"train_loss": null')
        (folder / "rounds.jsonl").write_text(text)
    runs = [read_run(a), read_run(b)]
    with pytest.raises(ConfigError, match=r"no metric in common: accuracy \(.*a\), distance \(.*b\)"):
        one(runs)
    assert [unread.reason for unread in one(runs, metric="distance").left_out] == [
        "distance was not evaluated"
    ]


# ---- warnings


def warned(runs: list[Run], **options: object) -> list[str]:
    return list(one(runs, **options).warnings)


def test_methods_may_differ(tmp_path: Path):
    assert warned(three(tmp_path, "a", CLEAR) + three(tmp_path, "b", CLOSE)) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"data": {"name": "mnist", "options": {}}}, "Different tasks: data: digits (a) against mnist (b)"),
        ({"clients": 7}, "Different tasks: clients: 100 (a) against 7 (b)"),
        ({"rounds": 3}, "Unequal budgets: rounds: 4 (a) against 3 (b)"),
        (
            {"versions": {"torch": "2.14.1", "commit": "0123456789abcdef"}},
            "Different versions: torch: 2.13.0 (a) against 2.14.1 (b)",
        ),
        ({"tuning": {"trials": 3}}, "Tuned (b) and untuned (a) results are compared"),
    ],
)
def test_what_is_not_declared_is_told(tmp_path: Path, other: dict[str, object], said: str):
    assert warned(three(tmp_path, "a", CLEAR) + three(tmp_path, "b", CLOSE, **other)) == [said]


def test_what_is_declared_is_not_told_and_all_else_is(tmp_path: Path):
    runs = three(tmp_path, "a", CLEAR) + three(tmp_path, "b", CLOSE, clients=7)
    assert warned(runs, by=["clients"]) == [
        "Not only the declared factor differs: strategy: a (a) against b (b)"
    ]
    assert warned(runs, by=["clients", "strategy"]) == []


def test_few_and_unequal_seeds_are_told(tmp_path: Path):
    found = warned(three(tmp_path, "a", CLEAR) + three(tmp_path, "b", [0.9]))
    assert found[0] == "Different seeds: 0,1,2 (a) against 0 (b); tests use those in common"
    assert found[1].startswith("One seed only: b")


# ---- advice


def test_the_advice_says_whom_to_take_with_its_margin(tmp_path: Path):
    c = one(three(tmp_path, "a", CLEAR) + three(tmp_path, "c", LOW), budgets=[2000.0], target=0.9)
    said = advice(c)
    # At 2 kB, two rounds: 0.6 of the ends, 0.546 and 0.306. Differences 0.24, 0.234, 0.246: t 69.3 of two degrees.
    assert said[0] == (
        "Within 2.00 kB from clients take a: accuracy 0.546 ± 0.015 over 3 seeds, 0.24 above c, "
        "which is more than noise (p = 0.00021)."
    )
    assert said[-1] == "Accuracy 0.9 takes a 4.00 kB (median); c did not reach it with half of the seeds."


def test_the_advice_does_not_choose_where_chance_would(tmp_path: Path):
    said = advice(one(three(tmp_path, "a", CLEAR) + three(tmp_path, "b", CLOSE)))[0]
    assert "take b" in said
    assert said.endswith("Within noise: a (p = 0.67); more seeds could tell.")


def test_one_seed_is_no_evidence(tmp_path: Path):
    said = advice(one(three(tmp_path, "a", [0.9]) + three(tmp_path, "b", [0.1])))[0]
    assert said.endswith("With one common seed no difference to b can be called real.")


def test_one_configuration_has_nothing_beside_it(tmp_path: Path):
    assert advice(one(three(tmp_path, "a", CLEAR))) == [
        "One configuration, 3 seeds: there is nothing to compare it with."
    ]


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (0.93891, 0.00421, "0.9389 ± 0.0042"),
        (0.9, math.nan, "0.9"),
        (math.nan, 0.1, "–"),
        (123.4, 12.3, "123 ± 12"),
        (0.5, 0.0, "0.5 ± 0"),
        (2.5e-9, 1.23e-10, "2.500e-09 ± 1.2e-10"),
    ],
)
def test_a_mean_has_the_digits_of_its_interval(mean: float, half: float, text: str):
    assert value_text(mean, half) == text
