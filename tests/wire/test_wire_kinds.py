"""Rounding to what the receiver decodes."""

from __future__ import annotations

import pytest
import torch
from wire_cases import AWKWARD, DTYPES, FLOAT_KINDS

from fedsparse.message import KINDS, Dense, round_to

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_rounding_twice_changes_nothing(kind, dtype):
    values = torch.tensor([AWKWARD], dtype=torch.float64).to(dtype).nan_to_num()
    once, scale = round_to(values, kind)
    twice, again = round_to(once, kind)
    assert torch.equal(once, twice)
    assert once.dtype == dtype
    assert (scale is None) == (again is None) == (kind != "int8")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_finite_numbers_stay_finite(kind, dtype):
    top = torch.finfo(dtype).max
    assert round_to(torch.tensor([[top, -top, 1.0]], dtype=dtype), kind)[0].isfinite().all()


@pytest.mark.parametrize("kind", FLOAT_KINDS)
def test_numbers_that_are_not_finite_stay_what_they_are(kind):
    rounded, _ = round_to(torch.tensor([[INF, -INF, NAN]]), kind)
    assert rounded[0, :2].tolist() == [INF, -INF]
    assert rounded[0, 2].isnan()


def test_half_precision_saturates():
    assert round_to(torch.tensor([[1e9, -65520.0]]), "fp16")[0].tolist() == [[65504.0, -65504.0]]


def test_int8_rounds_half_to_even_on_a_scale_of_each_row():
    values = torch.tensor([[127.0, 2.5, 3.5, -0.4], [254.0, 5.0, 7.0, 0.0]])
    rounded, scale = round_to(values, "int8")
    assert scale.tolist() == [1.0, 2.0]
    assert rounded.tolist() == [[127, 2, 4, 0], [254, 4, 8, 0]]
    assert not rounded.signbit().any()


def test_int8_takes_rows_of_unequal_length():
    values = torch.tensor([127.0, 1.4, 254.0, 3.2])
    rounded, scale = round_to(values, "int8", torch.tensor([0, 2, 2, 4]))
    assert scale.tolist() == [1.0, 0.0, 2.0]
    assert rounded.tolist() == [127.0, 1.0, 254.0, 4.0]


@pytest.mark.parametrize("row", [[0.0, -0.0], [1e-45, 0.0]])
def test_int8_of_rows_too_small_for_a_scale_is_zero(row):
    rounded, scale = round_to(torch.tensor([row]), "int8")
    assert rounded.tolist() == [[0.0, 0.0]]
    assert scale.tolist() == [0.0]


@pytest.mark.parametrize("bad", [INF, NAN])
def test_int8_marks_a_whole_row_that_is_not_finite(bad):
    rounded, _ = round_to(torch.tensor([[bad, 1.0], [2.0, 1.0]]), "int8")
    assert rounded.isnan().tolist() == [[True, True], [False, False]]


def test_empty_rows_have_the_scale_zero():
    rounded, scale = round_to(torch.empty(2, 0), "int8")
    assert rounded.shape == (2, 0)
    assert scale.tolist() == [0.0, 0.0]


def test_kinds_wider_than_the_values_cost_nothing():
    values = torch.randn(1, 5, generator=torch.Generator().manual_seed(0))
    assert round_to(values, "fp64")[0] is values
    assert Dense(values, "fp64").kind == "fp32"
