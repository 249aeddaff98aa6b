"""What a batch of rows can do without being encoded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_cases import COLLECTION, Maker, payloads, same_bits

from fedsparse.errors import ProtocolError
from fedsparse.message import (
    Dense,
    Exponents,
    LowRank,
    Mask,
    MaskedDense,
    Payload,
    PerEdge,
    Quantized,
    Ragged,
    Scalars,
    SeededSparse,
    Sign,
    Sparse,
    concatenate,
)

F32 = torch.float32


@settings(max_examples=150)
@given(payloads())
def test_putting_selected_rows_together_gives_the_batch_back(payload):
    rows = [payload.select(slice(row, row + 1)) for row in range(payload.rows)]
    assert same_bits(concatenate(rows), payload)


@pytest.mark.parametrize("name", COLLECTION)
def test_batches_of_each_class_can_be_put_together(name):
    payload = COLLECTION[name]
    twice = concatenate([payload, payload])
    assert torch.equal(twice.nbytes(), payload.nbytes().repeat(2))
    assert same_bits(twice.select(slice(0, payload.rows)), payload)


def test_senders_without_neighbours_go_with_any_others():
    nobody = PerEdge(Dense(torch.empty(0, 0)), torch.tensor([0, 0]))
    both = concatenate([nobody, COLLECTION["edges"]])
    assert both.offsets.tolist() == [0, 0, 2, 3]


@settings(max_examples=100)
@given(payloads(edges=False), st.randoms(use_true_random=False))
def test_selection_by_index_mask_and_slice_agree_with_the_dense_rows(payload, random):
    order = torch.tensor([random.randrange(payload.rows) for _ in range(3)])
    mask = torch.tensor([random.random() < 0.5 for _ in range(payload.rows)])
    for rows in (order, mask, slice(1, None)):
        assert torch.equal(payload.select(rows).dense().nan_to_num(), payload.dense().nan_to_num()[rows])


@settings(max_examples=150)
@given(payloads(), st.sampled_from([torch.float32, torch.float64]))
def test_accumulating_is_adding_scaled_dense_rows_in_ascending_order(payload, dtype):
    dense = payload.dense()
    coefficients = torch.linspace(-1, 2, len(dense), dtype=torch.float64)
    out, expected = torch.ones(payload.size, dtype=dtype), torch.ones(payload.size, dtype=dtype)
    payload.accumulate(out, coefficients)
    for coefficient, row in zip(coefficients.to(dtype), dense, strict=True):
        expected = expected + coefficient * row.to(dtype)
    assert torch.equal(out, expected) or torch.equal(out.isnan(), expected.isnan())


def test_rows_for_neighbours_are_accumulated_one_by_one():
    payload = COLLECTION["edges"]
    dense, out = payload.dense(), torch.zeros(payload.size)
    payload.accumulate(out, torch.tensor([1.0, 2.0, 4.0]))
    assert torch.equal(out, dense[0] + 2 * dense[1] + 4 * dense[2])


@settings(max_examples=150)
@given(payloads(edges=False))
def test_norms_are_those_of_the_dense_rows(payload):
    expected = payload.dense().double().norm(dim=1)
    assert torch.allclose(payload.norm(), expected, rtol=1e-12, atol=1e-300, equal_nan=True)


@settings(max_examples=150)
@given(payloads(edges=False))
def test_norms_do_not_depend_on_the_batch(payload):
    alone = [payload.select(slice(row, row + 1)).norm() for row in range(payload.rows)]
    assert torch.equal(torch.cat(alone), payload.norm())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize(
    "make",
    [
        Dense,
        MaskedDense,
        lambda v: Sparse.of(torch.tensor([[1, 5]] * 2), v, 9),
        lambda v: SeededSparse(torch.tensor([1, 2]), v, 9),
        lambda v: Ragged(v.flatten(), torch.tensor([0, 2, 4]), 9),
        lambda v: Quantized(torch.ones(2, 3, dtype=torch.int32), v[:, 0], 1),
        Exponents.of,
        lambda v: Sign(torch.ones(2, 4, dtype=torch.bool), v),
        lambda v: LowRank(v[:, :, None], torch.ones(2, 3, 1)),
        lambda v: Scalars(v.double()),
        lambda v: PerEdge(Dense(v), torch.tensor([0, 1, 2])),
    ],
)
def test_rows_that_are_not_finite_are_seen(bad, make):
    values = torch.tensor([[1.0, 2.0], [bad, 3.0]])
    assert make(values).finite().tolist() == [True, False]


def test_a_product_that_overflows_is_not_finite():
    assert not LowRank(torch.full((1, 1, 1), 1e30), torch.full((1, 1, 1), 1e30)).finite().item()


def test_masked_values_go_where_the_receiver_knows():
    payload = MaskedDense(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert payload.dense(torch.tensor([0, 3]), 5).tolist() == [[1, 0, 0, 2, 0], [3, 0, 0, 4, 0]]
    assert payload.dense(torch.tensor([[0, 1], [2, 1]]), 3).tolist() == [[1, 2, 0], [0, 4, 3]]
    assert payload.dense().tolist() == [[1, 2], [3, 4]]


def test_ragged_rows_are_the_marked_values_in_order():
    marks = torch.tensor([[True, False, True], [False, False, True]])
    payload = Ragged.of(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), marks)
    assert payload.dense().tolist() == [[1, 3, 0], [6, 0, 0]]
    assert payload.counts.tolist() == [2, 1]


def test_sign_blocks_are_of_equal_length_but_for_the_last():
    payload = Sign(torch.tensor([[True, False, True, True, False]]), torch.tensor([[1.0, 2.0, 3.0]]))
    assert payload.dense().tolist() == [[1, -1, 2, 2, -3]]


def test_low_rank_is_the_product_of_its_factors():
    left, right = torch.arange(6.0).reshape(1, 3, 2), torch.arange(4.0).reshape(1, 2, 2)
    assert torch.equal(LowRank(left, right).dense(), (left @ right.mT).reshape(1, 6))


def test_exponents_cut_values_down_to_powers_of_two_and_show_nan():
    values = torch.tensor([[3.0, -0.75, 1e-45, float("nan")]], dtype=torch.float64)
    dense = Exponents.of(values).dense()
    assert dense.dtype == torch.float64
    assert dense.tolist() == [[2.0, -0.5, 0.0, float("inf")]]


def test_values_per_edge_are_dense_by_edge_and_counted_by_sender():
    payload = PerEdge(Dense(torch.tensor([[3.0], [4.0], [1.0]])), torch.tensor([0, 2, 3]))
    assert payload.dense().shape == (3, 1)
    assert payload.norm().tolist() == [5.0, 1.0]
    assert payload.select(torch.tensor([1])).dense().tolist() == [[1.0]]
    assert (payload.rows, payload.size, payload.dtype) == (2, 1, F32)


def test_sparse_rows_may_differ_in_length():
    payload = Maker(np.random.default_rng(0), F32).sparse(20, [3, 0, 20])
    assert payload.counts.tolist() == [3, 0, 20]
    assert payload.dense().count_nonzero(dim=1)[1] == 0


@pytest.mark.parametrize("name", COLLECTION)
def test_an_empty_batch_has_no_rows_and_no_bytes(name):
    empty = COLLECTION[name].select(slice(0, 0))
    assert empty.rows == 0
    assert empty.nbytes().tolist() == empty.norm().tolist() == empty.finite().tolist() == []
    assert empty.dense().shape == (0, COLLECTION[name].size)


def test_the_kind_is_the_dtypes_own_unless_said_otherwise():
    assert Dense(torch.ones(1, 1)).kind == "fp32"
    assert Dense(torch.ones(1, 1, dtype=torch.float64)).kind == "fp64"


ONES = torch.ones(1, 4)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Dense(ONES, "fp8"), "unknown value kind 'fp8'"),
        (lambda: Dense(ONES.half()), "torch.float16"),
        (lambda: Dense(ONES, "int8"), "round_to"),
        (lambda: Dense(ONES, "fp16", torch.ones(1)), "scale"),
        (lambda: Dense(ONES, "int8", torch.ones(1).double()), "must agree"),
        (lambda: Sparse.of(torch.tensor([[0]]), ONES, 9), "1 indices, 4 values"),
        (lambda: Quantized(ONES, torch.ones(1), 1), "torch.int32"),
        (lambda: Quantized(ONES.int(), torch.ones(1), 0), "0 levels"),
        (lambda: Quantized((ONES * -3).int(), torch.ones(1), 2), "codes from -3 to -3"),
        (
            lambda: Sparse.of(torch.tensor([[2, 1]]), ONES[:, :2], 9).nbytes(),
            "strictly ascending from 0 to 8",
        ),
        (lambda: Sparse.of(torch.tensor([[1, 1]]), ONES[:, :2], 9).encode(0), "strictly ascending"),
        (lambda: Sparse.of(torch.tensor([[1, 9]]), ONES[:, :2], 9).nbytes(), "strictly ascending"),
        (lambda: Sparse.of(torch.tensor([[-1, 2]]), ONES[:, :2], 9).nbytes(), "strictly ascending"),
        (lambda: Exponents(ONES), "torch.int16"),
        (lambda: Sign(ONES, ONES), "torch.float32"),
        (lambda: Sign(ONES.bool(), torch.ones(1, 5)), "5 blocks for 4"),
        (lambda: Sign(torch.ones(1, 9).bool(), torch.ones(1, 8)), "8 blocks for 9"),
        (lambda: LowRank(torch.ones(1, 2, 0), torch.ones(1, 2, 0)), "at least 1"),
        (lambda: LowRank(torch.ones(1, 2, 1), torch.ones(1, 2, 2)), "[C, n, r]"),
        (lambda: LowRank(torch.ones(1, 2, 1), torch.ones(1, 2, 1).double()), "one dtype"),
        (lambda: Mask(ONES), "torch.bool"),
        (lambda: Ragged(ONES[0], torch.tensor([0, 3]), 9), "offsets that end at 3"),
        (lambda: Ragged(ONES[0], torch.tensor([0, 4]), 3), "a row of 4 values of at most 3"),
        (lambda: Scalars(ONES), "torch.float64"),
        (lambda: PerEdge(Dense(ONES), torch.tensor([0, 2])), "1 rows and offsets that end at 2"),
        (lambda: PerEdge(COLLECTION["edges"], torch.tensor([0, 2])), "another PerEdge"),
        (lambda: concatenate([]), "at least one"),
        (lambda: concatenate([Dense(ONES), MaskedDense(ONES)]), "Dense, MaskedDense"),
        (lambda: concatenate([Dense(ONES), Dense(ONES[:, 1:])]), "rows of Dense.values differ"),
        (lambda: concatenate([Dense(ONES), Dense(ONES, "fp16")]), "kind is"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_its_name(make, text):
    with pytest.raises(ProtocolError) as caught:
        make()
    assert text in str(caught.value)


@pytest.mark.parametrize("code", [0, 16, -1])
def test_a_class_number_is_given_once_and_lies_within_four_bits(code):
    with pytest.raises(ProtocolError, match="free are"):
        type("Mine", (Payload,), {}, code=code)


def bits_of(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous().view(torch.int32 if x.dtype == F32 else torch.int64)


def draw_x(payload: Payload, random, *, dtype: torch.dtype | None = None) -> torch.Tensor:
    shape = payload.dense().shape
    entries = random.choices([0.0, -0.0, 1.5, -2e-30, 1e30, torch.inf, torch.nan], k=shape.numel())
    return torch.tensor(entries, dtype=dtype or payload.dtype).reshape(shape)


@pytest.mark.parametrize("factor", [0.25, 0.3, 0.0])
@settings(max_examples=100)
@given(payload=payloads(), random=st.randoms(use_true_random=False))
def test_adding_a_share_is_that_of_the_dense_rows_to_the_bit(factor, payload, random):
    x = draw_x(payload, random)
    assert torch.equal(bits_of(payload.added_to(x, factor)), bits_of(x + factor * payload.dense()))


@settings(max_examples=300)
@given(payloads(), st.randoms(use_true_random=False))
def test_adding_and_taking_off_are_those_of_the_dense_rows_to_the_bit(payload, random):
    x = draw_x(payload, random)
    before = x.clone()
    assert torch.equal(bits_of(payload.added_to(x)), bits_of(x + payload.dense()))
    assert torch.equal(bits_of(x), bits_of(before))
    assert torch.equal(bits_of(payload.left_of(x.clone())), bits_of(before - payload.dense()))


ZEROS = torch.tensor([[0.0, -0.0, 0.0, -0.0, -0.0, 0.0]])


@pytest.mark.parametrize("value", [0.0, -0.0])
def test_signed_zeros_are_added_as_ever(value):
    payload = Sparse.of(torch.tensor([[0, 1, 4]]), torch.full((1, 3), value), 6)
    assert torch.equal(bits_of(payload.added_to(ZEROS)), bits_of(ZEROS + payload.dense()))
    assert torch.equal(bits_of(payload.left_of(ZEROS.clone())), bits_of(ZEROS - payload.dense()))


@pytest.mark.parametrize("name", ["sparse fp32 torch.float32", "seeded fp32 torch.float32"])
def test_rows_of_another_dtype_or_shape_or_order_are_added_as_ever(name):
    payload = COLLECTION[name]
    for x in (
        torch.ones(2, payload.size, dtype=torch.float64),
        torch.ones(1, payload.size),
        torch.arange(2.0 * payload.size).reshape(payload.size, 2).T,
    ):
        assert torch.equal(payload.added_to(x), x + payload.dense())
        assert torch.equal(payload.added_to(x, 0.5), x + 0.5 * payload.dense())
        assert torch.equal(payload.left_of(x.clone()), x - payload.dense())


@pytest.mark.parametrize("make", [Dense, lambda v: Sparse.of(torch.arange(4).expand(2, 4), v, 4)])
def test_taking_off_a_payload_that_shares_the_memory_leaves_the_payload_alone(make):
    x = torch.arange(8.0).reshape(2, 4)
    payload = make(x)
    assert payload.left_of(x).count_nonzero() == 0
    assert torch.equal(payload.dense(), torch.arange(8.0).reshape(2, 4))


def test_taking_off_a_sparse_payload_takes_no_memory():
    payload = Sparse.of(torch.tensor([[1]]), torch.ones(1, 1), 4)
    x = torch.ones(1, 4)
    assert payload.left_of(x).data_ptr() == x.data_ptr()
