"""Who holds what."""

from __future__ import annotations

import pickle
import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsparse.data import Dataset, load
from fedsparse.data.holdings import Stored
from fedsparse.data.overview import histogram
from fedsparse.data.partition import names, options, partition
from fedsparse.data.partitions._common import level_up
from fedsparse.errors import ConfigError, DataError

DRAWN = ["iid", "dirichlet", "shards", "quantity"]
DIVIDING = [*DRAWN, "norm"]
DIGITS = load("digits")


def _grouped(groups: list[int]) -> Dataset:
    x, y = np.zeros((len(groups), 1), np.float32), np.zeros(len(groups), np.int64)
    return Dataset("grouped", x, y, x, y, classes=1, groups=np.array(groups))


def _everything_once(held: Stored, n: int) -> bool:
    return np.array_equal(np.sort(held.indices), np.arange(n))


def test_these_partitions_exist() -> None:
    assert set(names()) == {*DIVIDING, "natural", "bootstrap", "own"}


@pytest.mark.parametrize("name", DIVIDING)
@pytest.mark.parametrize("clients", [1, 7, 100, 700])
def test_every_example_has_exactly_one_owner(name: str, clients: int) -> None:
    held = partition(name, DIGITS, clients, seed=3)
    assert _everything_once(held, 1437)
    assert held.left_out == 0
    assert held.clients == clients
    assert held.sizes().min() >= 1
    assert held.sizes().sum() == 1437


@pytest.mark.parametrize("name", DRAWN)
def test_the_seed_decides(name: str) -> None:
    one, same, other = (partition(name, DIGITS, 20, seed).indices for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_what_a_client_holds_is_in_ascending_order() -> None:
    held = partition("iid", DIGITS, 5, 0)
    assert held.offsets[0] == 0
    assert all((np.diff(held.examples(i)) > 0).all() for i in range(5))
    assert held.examples(0).dtype == np.int64


def test_a_stored_partition_takes_4_bytes_an_example_and_8_a_client() -> None:
    n = 200_000
    data = _grouped(list(range(n)))
    for name in ("iid", "natural", "quantity", "dirichlet"):
        _, arrays = partition(name, data, n, 0).parts()
        assert sum(array.nbytes for array in arrays.values()) == 4 * n + 8 * (n + 1)


def test_a_partition_is_made_again_from_its_parts() -> None:
    held = partition("natural", _grouped([2, 0, 1, 0, 2, 2]), 2, 0, fewer="drop")
    make, arrays = held.parts()
    again = pickle.loads(pickle.dumps(make))(**arrays)  # noqa: S301 - our own bytes
    assert [again.examples(i).tolist() for i in range(2)] == [held.examples(i).tolist() for i in range(2)]
    assert (again.clients, again.total, again.left_out) == (2, held.total, held.left_out)


def test_sizes_can_be_asked_for_some_clients() -> None:
    held = partition("quantity", DIGITS, 10, 0)
    assert held.sizes(np.array([7, 2])).tolist() == held.sizes()[[7, 2]].tolist()
    assert held.largest == held.sizes().max()
    assert held.total == 1437


def test_iid_sizes_differ_by_at_most_one() -> None:
    sizes = partition("iid", DIGITS, 100, 0).sizes()
    assert sizes.max() - sizes.min() <= 1


def _skew(name: str, clients: int = 20, **options: float) -> float:
    runs = (
        partition(name, DIGITS, clients, seed, **options).summary(DIGITS.y, 10)["skew"] for seed in range(5)
    )
    return float(np.mean(list(runs)))


def test_label_skew_grows_as_alpha_shrinks() -> None:
    skews = [_skew("dirichlet", alpha=alpha) for alpha in (100.0, 1.0, 0.1, 0.01)]
    assert skews == sorted(skews)
    assert skews[0] < 0.15
    assert skews[-1] > 0.7


def test_a_large_alpha_is_close_to_iid() -> None:
    sizes = partition("dirichlet", DIGITS, 10, 0, alpha=1e6).sizes()
    assert sizes.min() > 130
    assert sizes.max() < 160


@pytest.mark.parametrize("alpha", [1e-4, 1e-2, 0.3])
@pytest.mark.parametrize("minimum", [0, 1, 10, 14])
def test_dirichlet_gives_everyone_the_minimum(alpha: float, minimum: int) -> None:
    held = partition("dirichlet", DIGITS, 100, 0, alpha=alpha, minimum=minimum)
    assert held.sizes().min() >= minimum
    assert _everything_once(held, 1437)


def test_an_impossible_minimum_is_told() -> None:
    with pytest.raises(DataError, match=r"100 clients need at least 1,500 .* use at most 95 clients"):
        partition("dirichlet", DIGITS, 100, 0, minimum=15)


@given(st.lists(st.integers(0, 5), min_size=12, max_size=60), st.integers(0, 2))
def test_levelling_moves_only_what_is_lacking(owner: list[int], minimum: int) -> None:
    before = np.array(owner)
    after = level_up(before, 6, minimum, np.random.default_rng(0))
    lacking = np.maximum(minimum - np.bincount(before, minlength=6), 0)
    assert (before != after).sum() == lacking.sum()
    assert np.bincount(after, minlength=6).min() >= minimum


def test_levelling_takes_from_the_largest() -> None:
    owner = np.repeat([0, 1, 2], [10, 6, 2])
    after = level_up(owner, 5, 2, np.random.default_rng(0))
    assert np.bincount(after).tolist() == [6, 6, 2, 2, 2]


def test_two_shards_show_a_client_few_labels() -> None:
    counts = histogram(partition("shards", DIGITS, 50, 0), DIGITS.y, 10)
    assert (counts > 0).sum(axis=1).max() <= 4
    assert (counts > 0).sum(axis=1).mean() < 3


def test_shards_have_equal_sizes_but_for_one_example() -> None:
    sizes = partition("shards", DIGITS, 50, 0).sizes()
    assert sizes.min() >= 28
    assert sizes.max() <= 30


def test_quantity_skews_sizes_and_not_labels() -> None:
    small, large = (partition("quantity", DIGITS, 10, 0, alpha=a).sizes() for a in (0.1, 1000.0))
    assert small.std() > 5 * large.std()
    assert _skew("quantity", clients=5, alpha=10.0) < 0.15


def test_natural_clients_keep_their_numbers() -> None:
    data = _grouped([2, 0, 1, 0, 2, 2])
    for clients in (0, None, 3):
        held = partition("natural", data, clients, 0)
        assert [held.examples(i).tolist() for i in range(3)] == [[1, 3], [2], [0, 4, 5]]


def test_fewer_clients_merge_natural_ones() -> None:
    data = _grouped(list(np.repeat(np.arange(10), 4)))
    held = partition("natural", data, 4, 0)
    assert _everything_once(held, 40)
    assert sorted(held.sizes().tolist()) == [8, 8, 12, 12]
    assert all(len(set(data.groups[held.examples(i)])) in {2, 3} for i in range(4))


def test_fewer_clients_can_drop_natural_ones_and_say_what_is_left_out() -> None:
    data = _grouped(list(np.repeat(np.arange(10), 4)))
    held = partition("natural", data, 4, 0, fewer="drop")
    assert held.left_out == 24
    assert held.sizes().tolist() == [4, 4, 4, 4]
    assert held.summary(data.y, 1)["left out"] == 24


@pytest.mark.parametrize(
    ("name", "clients", "options", "kind", "said"),
    [
        ("iid", 1438, {}, DataError, "use at most 1,437 clients"),
        ("iid", 0, {}, ConfigError, "clients=0"),
        ("natural", 3, {}, DataError, "has no natural clients"),
        ("natural", 0, {"fewer": "maybe"}, ConfigError, "merge, drop"),
        ("dirichlet", 5, {"alpha": 0.0}, ConfigError, "alpha=0.0"),
        ("quantity", 5, {"alpha": -1.0}, ConfigError, "alpha=-1.0"),
        ("shards", 1000, {}, DataError, "use at most 718 clients"),
        ("shards", 5, {"per_client": 0}, ConfigError, "per_client=0"),
        ("dirichlet", 5, {"alhpa": 1.0}, ConfigError, "Did you mean 'alpha'?"),
        ("dirichlett", 5, {}, ConfigError, "Did you mean 'dirichlet'?"),
    ],
)
def test_what_cannot_be_is_refused(name, clients, options, kind, said) -> None:
    with pytest.raises(kind) as caught:
        partition(name, DIGITS, clients, 0, **options)
    assert said in str(caught.value)


def test_more_clients_than_natural_ones_are_refused() -> None:
    with pytest.raises(DataError, match="has 3 natural clients, and 4 are wanted"):
        partition("natural", _grouped([0, 1, 2]), 4, 0)


@pytest.mark.parametrize("name", ["dirichlet", "shards"])
def test_label_partitions_refuse_targets_without_one_label(name: str) -> None:
    x = np.zeros((6, 4), np.int64)
    with pytest.raises(DataError, match="needs one label for each example"):
        partition(name, Dataset("tokens", x, x, x, x, classes=2), 2, 0)


def test_an_own_partition_is_a_function_that_names_owners_or_gives_a_partition(monkeypatch) -> None:
    module = types.ModuleType("own_partition")
    module.odd = lambda dataset, *_: np.where(np.arange(len(dataset.x)) % 2, 0, -1)
    module.bad = lambda dataset, clients, _: np.full(len(dataset.x), clients)
    module.short = lambda *_: np.zeros(3)
    module.shared = lambda dataset, clients, _: Stored(np.array([0, 1, 1, 2]), np.array([0, 2, 4]))
    monkeypatch.setitem(sys.modules, "own_partition", module)
    assert partition("own_partition:odd", DIGITS, 2, 0).left_out == 719
    assert partition("own_partition:shared", DIGITS, 2, 0).examples(1).tolist() == [1, 2]
    with pytest.raises(DataError, match="is for 2 clients, and 3 are wanted"):
        partition("own_partition:shared", DIGITS, 3, 0)
    with pytest.raises(DataError, match="clients are 0 to 1"):
        partition("own_partition:bad", DIGITS, 2, 0)
    with pytest.raises(DataError, match="of shape \\(3,\\)"):
        partition("own_partition:short", DIGITS, 2, 0)


def test_a_summary_counts_labels() -> None:
    held = Stored(np.array([0, 1, 2, 3]), np.array([0, 2, 4]), left_out=1)
    numbers = held.summary(np.array([0, 0, 1, 1, 1]), 2)
    assert numbers["clients"] == 2
    assert numbers["left out"] == 1
    assert numbers["mean labels of a client"] == 1
    assert numbers["skew"] == 0.5


def test_a_summary_of_numbers_has_no_labels() -> None:
    held = Stored(np.array([0, 1]), np.array([0, 2]), left_out=0)
    assert "skew" not in held.summary(np.zeros(2, np.float32), 1)
    assert "left out" in held.table(np.zeros(2, np.float32), 1)


@pytest.mark.parametrize("clients", [3, 300])
def test_a_plot_is_written(tmp_path, clients: int) -> None:
    partition("dirichlet", DIGITS, clients, 0).plot(tmp_path / "p.svg", DIGITS.y, 10)
    assert b"<svg" in (tmp_path / "p.svg").read_bytes()


def test_a_million_clients_take_seconds() -> None:
    n = 1_000_000
    x = np.zeros((n, 1), np.uint8)
    data = Dataset(
        "many", x, np.arange(n) % 10, x[:1], np.zeros(1, np.int64), classes=10, groups=np.arange(n)
    )
    assert partition("dirichlet", data, n, 0).sizes().max() == 1
    assert partition("natural", data, 0, 0).clients == n
    assert partition("natural", data, n // 2, 0).largest == 2
    assert partition("iid", data, n, 0).largest == 1


def test_options_have_defaults() -> None:
    assert options("dirichlet")["alpha"].default == 0.3
    assert list(options("shards")) == ["per_client"]


def test_own_gives_all_to_the_device_that_asks() -> None:
    x, y = np.zeros((10, 1), dtype=np.float32), np.arange(10) % 2
    held = partition("own", Dataset("own", x, y, x, y, classes=2), 3, seed=0, client=2)
    assert held.sizes().tolist() == [0, 0, 10]
