"""Exact shares and fixed test parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsparse.data.split import apportion, dense_ids, stratified
from fedsparse.errors import ConfigError

weights = st.lists(st.floats(0, 1e6), min_size=1, max_size=30).filter(lambda w: sum(w) > 1e-6)


@given(st.integers(0, 10**6), weights)
def test_shares_add_up_exactly_and_are_off_by_less_than_one(total: int, weights: list[float]) -> None:
    array = np.array(weights)
    shares = apportion(total, array)
    assert shares.sum() == total
    assert (shares >= 0).all()
    assert np.abs(shares - total * array / array.sum()).max() <= 1 + 1e-6


@given(st.lists(st.integers(0, 4), min_size=10, max_size=200), st.floats(0.1, 0.8))
def test_the_two_parts_hold_every_example_once(strata: list[int], fraction: float) -> None:
    train, test = stratified(np.array(strata), fraction, "any")
    assert np.array_equal(np.sort(np.concatenate((train, test))), np.arange(len(strata)))
    assert len(test) == int(np.ceil(len(strata) * fraction))


def test_every_stratum_gives_its_share() -> None:
    strata = np.repeat([0, 1, 2], [100, 50, 10])
    _, test = stratified(strata, 0.2, "any")
    assert np.bincount(strata[test]).tolist() == [20, 10, 2]


def test_the_split_depends_on_the_name_only() -> None:
    strata = np.zeros(50, np.int64)
    assert np.array_equal(stratified(strata, 0.2, "a")[1], stratified(strata, 0.2, "a")[1])
    assert not np.array_equal(stratified(strata, 0.2, "a")[1], stratified(strata, 0.2, "b")[1])


def test_a_fraction_that_leaves_a_part_empty_is_refused() -> None:
    with pytest.raises(ConfigError, match="both parts need some"):
        stratified(np.zeros(5, np.int64), 1.0, "any")


def test_dense_ids_follow_the_sorted_labels() -> None:
    assert dense_ids(np.array(["b", "a", "c", "a"])).tolist() == [1, 0, 2, 0]
