import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fedsparse import recorded
from fedsparse.config import parse
from fedsparse.engine.sampling import Full, RoundRobin, Uniform, Weighted, get, names
from fedsparse.errors import ConfigError

SIZES = np.arange(1, 21)


@pytest.mark.parametrize("name", names())
def test_a_cohort_is_distinct_and_ascending(name):
    for round_ in range(20):
        ids = get(name)().draw(1, round_, 20, 7, SIZES)
        assert ids.dtype == np.int64
        assert (np.diff(ids) > 0).all()
        assert ids[0] >= 0
        assert ids[-1] < 20


@pytest.mark.parametrize("name", ["uniform", "weighted", "round_robin"])
def test_a_cohort_has_the_wanted_length(name):
    assert [len(get(name)().draw(1, 0, 20, count, SIZES)) for count in (1, 7, 20)] == [1, 7, 20]


@pytest.mark.parametrize("name", names())
def test_a_draw_is_the_same_each_time(name):
    sampler = get(name)()
    assert np.array_equal(sampler.draw(3, 5, 20, 7, SIZES), sampler.draw(3, 5, 20, 7, SIZES))


@pytest.mark.parametrize("sampler", [Uniform(), Weighted()])
def test_draws_differ_between_rounds_and_seeds(sampler):
    draws = {tuple(sampler.draw(seed, round_, 20, 7, SIZES)) for seed in (0, 1) for round_ in (0, 1)}
    assert len(draws) == 4


def test_uniform_draws_every_client_equally_often():
    counts = np.zeros(10)
    for round_ in range(2000):
        counts[Uniform().draw(0, round_, 10, 3)] += 1
    # Binomial(2000, 0.3): standard deviation 20.5.
    assert np.abs(counts - 600).max() < 80


def test_uniform_makes_no_array_of_a_large_population():
    Uniform().draw(0, 0, 100_000_000, 1000)
    tracemalloc.start()
    Uniform().draw(0, 1, 100_000_000, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_weighted_draws_one_client_in_proportion_to_its_examples():
    sizes = np.array([1, 2, 3, 4])
    counts = np.zeros(4)
    for round_ in range(3000):
        counts[Weighted().draw(0, round_, 4, 1, sizes)] += 1
    # Standard deviations 16 to 27.
    assert np.abs(counts - 300 * sizes).max() < 100


def test_weighted_draws_two_clients_like_successive_draws():
    sizes = np.array([1, 1, 2])
    pairs = [tuple(Weighted().draw(0, round_, 3, 2, sizes)) for round_ in range(3000)]
    # Client 2 is left out when 0 and 1 come first: 2 * (1/4) * (1/3) = 1/6. Standard deviation 20.
    assert abs(pairs.count((0, 1)) - 500) < 80


def test_weighted_never_draws_a_client_without_examples():
    sizes = np.array([0, 5, 0, 5, 5])
    assert {client for r in range(50) for client in Weighted().draw(0, r, 5, 2, sizes)} == {1, 3, 4}


def test_weighted_refuses_more_clients_than_have_examples():
    with pytest.raises(ConfigError, match="only 1 of clients=3 can take part"):
        Weighted().draw(0, 0, 3, 2, np.array([0, 5, 0]))


@pytest.mark.parametrize("sizes", [None, np.ones(4, dtype=np.int64)])
def test_weighted_refuses_sizes_that_are_not_one_for_each_client(sizes):
    with pytest.raises(ConfigError, match="the examples of all 5 clients"):
        Weighted().draw(0, 0, 5, 2, sizes)


def test_round_robin_takes_one_cohort_after_the_other_and_wraps():
    assert [RoundRobin().draw(0, r, 5, 2).tolist() for r in range(3)] == [[0, 1], [2, 3], [0, 4]]


def test_full_takes_everybody():
    assert Full().draw(0, 3, 4, 1).tolist() == [0, 1, 2, 3]


def test_full_is_a_cohort_of_everybody():
    Full().check(4, 4)
    with pytest.raises(ConfigError, match=r"cohort=1: sampler=full draws all of clients=4; leave cohort out"):
        Full().check(1, 4)


@pytest.mark.parametrize("novel", [0.0, 0.3, 0.5])
def test_uniform_draws_at_most_those_that_can_take_part(novel):
    sampler = Uniform(novel=novel)
    able = sampler.eligible(10)
    assert able == {0.0: 10, 0.3: 7, 0.5: 5}[novel]
    assert sampler.draw(0, 0, 10, able).tolist() == list(range(able))
    with pytest.raises(ConfigError):
        sampler.draw(0, 0, 10, able + 1)


def test_messages_count_by_examples_where_the_draw_did_not():
    assert Uniform().coefficients(np.array([3, 1])).tolist() == [3.0, 1.0]


def test_messages_count_alike_where_the_draw_counted_examples():
    assert Weighted().coefficients(np.array([3, 1])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("sampler", [Uniform(), Weighted(), RoundRobin()])
@pytest.mark.parametrize("count", [0, -1, 21])
def test_a_cohort_that_cannot_be_drawn_is_refused(sampler, count):
    with pytest.raises(ConfigError, match=f"cohort={count}"):
        sampler.draw(0, 0, 20, count, SIZES)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["cohort=4"], r"cohort=4: with sampler=weighted .* only 3 of clients=4 can take part"),
        (["strategy=ef21"], r"sampler=weighted .*: strategy=ef21 needs all clients .* only 3 of clients=4"),
    ],
)
def test_a_cohort_for_which_too_few_have_examples_leaves_no_run_folder(
    words: list[str], reason: str, tmp_path: Path
) -> None:
    partition = "partition=tests.flower.own_task:none_for_the_first"
    config = parse(
        ["clients=4", "sampler=weighted", partition, "engine=local", *words, f"runs={tmp_path / 'r'}"]
    )
    with pytest.raises(ConfigError, match=reason):
        recorded.run(config)
    assert not list(tmp_path.iterdir())


def test_an_unknown_sampler_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="did you mean 'uniform'"):
        get("unifrom")


def test_a_name_like_no_other_is_refused_with_all_names():
    with pytest.raises(ConfigError, match=r"there are full, round_robin, uniform, weighted$"):
        get("zzz")
