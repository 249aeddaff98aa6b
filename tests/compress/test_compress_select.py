"""The k largest entries, against a plain sort."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedsparse.compress import bracket, select
from fedsparse.compress.select import RUN, SMALL, STRIDE, TOGETHER, is_largest, largest
from fedsparse.errors import ProtocolError

LONG = SMALL + 5
DTYPES = (torch.float32, torch.float64)


def naive(row: np.ndarray, k: int) -> np.ndarray:
    """Sort by (NaN first, magnitude descending, index ascending); take k; ascending."""
    order = np.lexsort((np.arange(len(row)), -np.abs(row), ~np.isnan(row)))
    return np.sort(order[:k])


def same(x: Tensor, k: int) -> bool:
    """Whether both the indices and the marks are those of a sort."""
    expected = np.array([naive(row, k) for row in x.numpy()], dtype=np.int64)
    marks = np.zeros(x.shape, dtype=bool)
    np.put_along_axis(marks, expected, True, axis=1)
    return np.array_equal(largest(x, k).numpy(), expected) and np.array_equal(is_largest(x, k).numpy(), marks)


@contextmanager
def tiny() -> Iterator[None]:
    """The way of long rows for short ones, with rows of several pieces and several to a piece."""
    with (
        mock.patch.multiple(select, SMALL=16, RUN=3, STRIDE=6, TOGETHER=256),
        mock.patch.object(bracket, "PART", 64),
    ):
        yield


few_values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, 1e-40, np.inf, -np.inf, np.nan])


@given(st.data())
@settings(max_examples=300)
def test_short_rows_equal_a_stable_sort(data: st.DataObject) -> None:
    rows, size = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 12))
    entries = data.draw(st.lists(few_values, min_size=rows * size, max_size=rows * size))
    x = torch.tensor(entries, dtype=data.draw(st.sampled_from(DTYPES))).reshape(rows, size)
    assert same(x, data.draw(st.integers(0, size)))


Kind = Callable[[np.random.Generator, int], np.ndarray]

KINDS: dict[str, Kind] = {
    "gaussian": lambda rng, n: rng.standard_normal(n),
    "heavy tails": lambda rng, n: rng.standard_cauchy(n),
    "ties": lambda rng, n: rng.integers(-3, 4, n).astype(float),
    "constant": lambda rng, n: np.full(n, rng.choice([-2.0, 1.0, np.inf, np.nan])),
    "zero": lambda rng, n: rng.choice([0.0, -0.0], n),
    "nearly zero": lambda rng, n: (rng.random(n) < 0.02) * rng.standard_normal(n),
    "subnormal": lambda rng, n: rng.integers(-9, 10, n) * (2.0**-149 if rng.random() < 0.5 else 5e-324),
    "ascending": lambda rng, n: np.arange(n) - rng.integers(0, n),
    "damaged": lambda rng, n: np.where(rng.random(n) < 0.1, rng.choice([np.nan, np.inf, -np.inf], n), 1.0),
    "loud block": lambda rng, n: rng.standard_normal(n) * np.where(np.arange(n) < n // 9, 100, 1),
    "periodic": lambda rng, n: np.where(np.arange(n) % rng.integers(1, 50) == 0, 9.0, rng.random(n)),
}


def mixture(rng: np.random.Generator, kinds: list[str], size: int, dtype: torch.dtype) -> Tensor:
    with np.errstate(over="ignore", under="ignore"):
        return torch.from_numpy(np.stack([KINDS[kind](rng, size) for kind in kinds])).to(dtype)


@given(
    st.integers(0, 2**32),
    st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=6),
    st.integers(17, 700),
    st.sampled_from(DTYPES),
    st.floats(0, 1),
)
@settings(max_examples=800)
def test_rows_of_all_kinds_together_equal_a_stable_sort(
    seed: int, kinds: list[str], size: int, dtype: torch.dtype, share: float
) -> None:
    x = mixture(np.random.default_rng(seed), kinds, size, dtype)
    with tiny():
        # Small k are where the sample is used; 1 and d - 1 are the ends.
        assert all(same(x, k) for k in {1, 1 + int(share * size / 12), 1 + int(share * (size - 2)), size - 1})


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("dtype", DTYPES)
def test_long_rows_of_each_kind_equal_a_stable_sort(kind: str, dtype: torch.dtype) -> None:
    x = mixture(np.random.default_rng(5), ["gaussian", kind, kind], LONG, dtype)
    assert all(same(x, k) for k in (1, LONG // 100, LONG // 3, LONG - 1))


def test_a_row_of_several_pieces_equals_a_stable_sort() -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 2 * TOGETHER + 13), dtype=np.float32))
    assert same(x, x.shape[1] // 100)


@given(st.integers(0, 2**32), st.integers(1, 20), st.sampled_from(sorted(KINDS)))
@settings(max_examples=100)
def test_a_row_alone_and_in_a_batch_has_the_same_result(seed: int, k: int, kind: str) -> None:
    x = mixture(np.random.default_rng(seed), ["gaussian", kind, "zero", "heavy tails"], 90, torch.float32)
    with tiny():
        assert torch.equal(largest(x, k), torch.cat([largest(row[None], k) for row in x]))


@pytest.mark.parametrize("shift", [10.0, -10.0])
@pytest.mark.parametrize("k", [1, 100, LONG // 40, LONG // 2])
def test_a_sample_that_sees_only_large_or_only_small_entries_does_not_mislead(k: int, shift: float) -> None:
    x = torch.rand(1, LONG, generator=torch.Generator().manual_seed(0)) + 10
    x[:, : LONG // STRIDE * STRIDE].view(1, -1, STRIDE)[:, :, :RUN] += shift
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
    x.view(torch.int32)[0, ::61] += 5
    x[0, :100] = 0
    assert largest(x, 50).tolist() == [list(range(100, 150))]


@pytest.mark.parametrize("size", [1, 6, LONG])
def test_all_entries_are_a_valid_choice(size: int) -> None:
    assert torch.equal(largest(torch.zeros(2, size), size), torch.arange(size).expand(2, size))


def test_none_is_a_valid_choice() -> None:
    assert largest(torch.zeros(2, 5), 0).shape == (2, 0)


@pytest.mark.parametrize("size", [5, LONG])
def test_no_rows_are_a_valid_batch(size: int) -> None:
    assert largest(torch.zeros(0, size), 3).shape == (0, 3)


@pytest.mark.parametrize("columns", [slice(0, LONG), slice(3, LONG + 3), slice(None, None, 2)])
def test_rows_of_a_strided_view_are_read_right(columns: slice) -> None:
    wide = torch.from_numpy(np.random.default_rng(3).standard_normal((4, 2 * LONG)))
    view = wide[::2, columns]
    assert not view.is_contiguous()
    assert same(view, 99)


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
