"""One number for each client."""

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedsparse.perclient import PerClient


def ids(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@given(st.lists(st.dictionaries(st.integers(0, 3000), st.integers(0, 2**62), max_size=8), max_size=8))
def test_it_is_a_mapping(rounds: list[dict[int, int]]) -> None:
    numbers, model = PerClient(), {}
    for new in rounds:
        numbers.set(ids(*new), ids(*new.values()))
        model |= new
        known, values = numbers.items()
        assert dict(zip(known.tolist(), values.tolist(), strict=True)) == model
        assert known.tolist() == sorted(model)
        asked = ids(*range(0, 3000, 7), 10**15)
        assert numbers.get(asked).tolist() == [model.get(i, -1) for i in asked.tolist()]


def test_one_number_can_be_for_all() -> None:
    numbers = PerClient()
    numbers.set(ids(3, 1), 7)
    assert numbers.get(ids(0, 1, 2, 3)).tolist() == [-1, 7, -1, 7]


def test_of_nobody_it_says_nothing() -> None:
    numbers = PerClient()
    numbers.set(ids(), 3)
    assert numbers.get(ids()).shape == numbers.items()[0].shape == (0,)


def test_a_million_clients_take_16_bytes_each() -> None:
    tracemalloc.start()
    numbers = PerClient()
    for first in range(0, 10**6, 50_000):
        numbers.set(np.arange(first, first + 50_000), 10**9)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held <= 16 * 10**6
