"""The k largest entries, against a plain sort."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedsparse.compress.select import SMALL, STRIDE, largest
from fedsparse.errors import ProtocolError

LONG = 3 * SMALL + 5
DTYPES = (torch.float32, torch.float64)


def naive(row: np.ndarray, k: int) -> list[int]:
    """Sort by (NaN first, magnitude descending, index ascending); take k; ascending."""
    order = np.lexsort((np.arange(len(row)), -np.abs(row), ~np.isnan(row)))
    return sorted(order[:k].tolist())


def same(x: Tensor, k: int) -> bool:
    return largest(x, k).tolist() == [naive(row, k) for row in x.numpy()]


few_values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, 1e-40, np.inf, -np.inf, np.nan])


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_short_rows_equal_a_stable_sort(data: st.DataObject) -> None:
    rows, size = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 12))
    entries = data.draw(st.lists(few_values, min_size=rows * size, max_size=rows * size))
    x = torch.tensor(entries, dtype=data.draw(st.sampled_from(DTYPES))).reshape(rows, size)
    assert same(x, data.draw(st.integers(0, size)))


@given(st.integers(0, 2**32), st.integers(1, LONG), st.sampled_from(DTYPES), st.sampled_from([2, 30, 10**6]))
@settings(max_examples=60, deadline=None)
def test_long_rows_equal_a_stable_sort(seed: int, k: int, dtype: torch.dtype, distinct: int) -> None:
    numbers = np.random.default_rng(seed).integers(-distinct, distinct + 1, size=(2, LONG))
    assert same(torch.from_numpy(numbers).to(dtype), k)


@pytest.mark.parametrize("k", [1, 7, SMALL // 50, LONG - 1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_long_gaussian_rows_equal_a_stable_sort(k: int, dtype: torch.dtype) -> None:
    assert same(torch.from_numpy(np.random.default_rng(k).standard_normal((3, LONG))).to(dtype), k)


@pytest.mark.parametrize("k", [1, 100, LONG // 40, LONG // 2])
def test_a_sample_that_sees_only_large_entries_does_not_mislead(k: int) -> None:
    x = torch.rand(1, LONG, generator=torch.Generator().manual_seed(0))
    x[:, ::STRIDE] += 10
    assert same(x, k)


@pytest.mark.parametrize("k", [1, 100, LONG // 40, LONG // 2])
def test_a_sample_that_sees_only_small_entries_does_not_mislead(k: int) -> None:
    x = torch.rand(1, LONG, generator=torch.Generator().manual_seed(0)) + 10
    x[:, ::STRIDE] -= 10
    assert same(x, k)


@pytest.mark.parametrize("size", [1, 10, LONG])
@pytest.mark.parametrize("value", [0.0, -3.0, np.inf, np.nan])
def test_of_equal_magnitudes_the_lowest_indices_win(size: int, value: float) -> None:
    k = max(1, size // 3)
    assert largest(torch.full((2, size), value), k).tolist() == [list(range(k))] * 2


@pytest.mark.parametrize("size", [40, LONG])
def test_nan_is_larger_than_infinity_whatever_its_sign_and_payload(size: int) -> None:
    x = torch.full((1, size), torch.inf)
    quiet, negative = 0x7FC0_0001, 0xFFF0_1234 - 2**32
    x.view(torch.int32)[0, 9], x.view(torch.int32)[0, 5] = quiet, negative
    assert largest(x, 1).tolist() == [[5]]
    assert largest(x, 3).tolist() == [[0, 5, 9]]


def test_many_nans_in_a_long_row_go_by_lowest_index() -> None:
    x = torch.zeros(1, LONG)
    x[0, 100:] = torch.nan
    x.view(torch.int32)[0, ::STRIDE] += 5
    x[0, :100] = 0
    assert largest(x, 50).tolist() == [list(range(100, 150))]


@pytest.mark.parametrize("size", [1, 6, LONG])
def test_all_entries_are_a_valid_choice(size: int) -> None:
    assert torch.equal(largest(torch.zeros(2, size), size), torch.arange(size).expand(2, size))


def test_none_is_a_valid_choice() -> None:
    assert largest(torch.zeros(2, 5), 0).shape == (2, 0)


def test_rows_of_a_strided_view_are_read_right() -> None:
    wide = torch.from_numpy(np.random.default_rng(3).standard_normal((4, 2 * LONG)))
    assert torch.equal(largest(wide[::2, ::2], 99), largest(wide[::2, ::2].contiguous(), 99))


def test_the_input_is_left_as_it_was() -> None:
    x = torch.from_numpy(np.random.default_rng(3).standard_normal((2, LONG)))
    before = x.clone()
    largest(x, 20)
    assert torch.equal(x, before)


@pytest.mark.parametrize("k", [-1, 6])
def test_more_entries_than_there_are_is_refused(k: int) -> None:
    with pytest.raises(ProtocolError, match="between 0 and 5"):
        largest(torch.zeros(1, 5), k)


def test_half_precision_is_refused_by_name() -> None:
    with pytest.raises(ProtocolError, match=r"torch\.float16"):
        largest(torch.zeros(1, 5, dtype=torch.float16), 2)
