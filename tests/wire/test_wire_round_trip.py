"""Encoding and decoding: the same bits, in exactly the promised number of bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from wire_cases import COLLECTION, DTYPES, LIMITS, Maker, payloads, same_bits

from fedsparse.message import (
    Dense,
    Exponents,
    Payload,
    PerEdge,
    Quantized,
    SeededSparse,
    Sparse,
    concatenate,
    round_to,
)
from fedsparse.wire import decode_payload, support
from fedsparse.wire.payload import _take_head, decode_rows
from fedsparse.wire.reader import Reader


def decode_all(payload: Payload) -> list[Payload]:
    return [decode_payload(payload.encode(row), LIMITS) for row in range(payload.rows)]


def stands_for_no_neighbours(payload: Payload) -> bool:
    return isinstance(payload, PerEdge) and payload.payload.rows == 0


@settings(max_examples=400)
@given(payloads())
def test_every_row_decodes_to_itself(payload):
    for row, decoded in enumerate(decode_all(payload)):
        one = payload.select(slice(row, row + 1))
        assert same_bits(decoded, one) or stands_for_no_neighbours(one)


@settings(max_examples=400)
@given(payloads())
def test_lengths_are_known_without_encoding(payload):
    assert payload.nbytes().tolist() == [len(payload.encode(row)) for row in range(payload.rows)]


@pytest.mark.parametrize("name", COLLECTION)
def test_each_class_kind_and_coding_decodes_to_itself(name):
    payload = COLLECTION[name]
    assert payload.nbytes().tolist() == [len(payload.encode(row)) for row in range(payload.rows)]
    for row, decoded in enumerate(decode_all(payload)):
        one = payload.select(torch.tensor([row]))
        assert same_bits(decoded, one) or stands_for_no_neighbours(one)


def test_no_neighbours_decode_to_no_rows():
    decoded = decode_all(COLLECTION["edges, none"])[1]
    assert decoded.rows == 1
    assert decoded.payload.rows == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("size", "indices"),
    [
        (1, []),
        (1, [0]),
        (0, []),
        (10, list(range(10))),
        (1000, [999]),
        (1000, [0]),
        (1 << 20, [(1 << 20) - 1]),
        (1 << 20, [0, (1 << 20) - 1]),
        (65536, [65535]),
        (257, list(range(200, 257))),
    ],
)
def test_supports_at_the_edges_survive(dtype, size, indices):
    where = torch.tensor([indices], dtype=torch.int64)
    payload = Sparse.of(where, torch.arange(len(indices)).to(dtype)[None], size)
    assert same_bits(decode_all(payload)[0], payload)
    assert payload.nbytes().item() == len(payload.encode(0))


def test_nan_payloads_denormals_and_signed_zeros_keep_their_bits():
    words = [0x7FC12345, 0x7F812345, -0x3EDCBB, 1, -0x80000000, 0x7F800000]
    patterns = torch.tensor([words], dtype=torch.int32)
    payload = Dense(patterns.view(torch.float32))
    assert torch.equal(decode_all(payload)[0].values.view(torch.int32), patterns)


@pytest.mark.parametrize("kind", ["fp16", "bf16", "int8"])
def test_nan_is_still_nan_after_travelling_in_a_narrow_kind(kind):
    values, scale = round_to(torch.tensor([[1.0, float("nan")]]), kind)
    decoded = decode_all(Dense(values, kind, scale))[0]
    assert decoded.values[0, 1].isnan()
    assert not decoded.finite().item()


def test_signalling_nan_decodes_to_nan_without_a_warning():
    data = bytearray(Dense(torch.zeros(1, 1, dtype=torch.float64), "bf16").encode(0))
    data[-2:] = b"\x81\x7f"
    assert decode_payload(bytes(data), LIMITS).dense().isnan().all()


def test_sparse_values_with_nan_keep_it_under_int8():
    payload = Maker(np.random.default_rng(0), torch.float32).sparse(50, [4, 4])
    values = payload.values.clone()
    values[1] = torch.inf
    rounded, scale = round_to(values, "int8", payload.offsets)
    decoded = decode_all(Sparse(payload.indices, rounded, payload.offsets, 50, "int8", scale))
    assert [d.finite().item() for d in decoded] == [False, True]


def test_zero_and_infinite_exponents_travel():
    values = torch.tensor([[0.0, -0.0, 2.0**-126, -(2.0**127), float("inf"), 1.0]])
    decoded = decode_all(Exponents.of(values))[0].dense()
    assert torch.equal(decoded.view(torch.int32), values.view(torch.int32))


def test_quantized_takes_the_shorter_of_both_codings():
    few, many = torch.zeros(1, 10_000, dtype=torch.int32), torch.ones(1, 10_000, dtype=torch.int32)
    few[0, ::1000] = 1
    lengths = [Quantized(codes, torch.ones(1), 1).nbytes().item() for codes in (few, many)]
    assert lengths[0] < 40
    assert lengths[1] == 2 + 2 + 1 + 1 + 4 + 2500


def test_a_seed_takes_the_place_of_the_indices():
    payload = SeededSparse(torch.tensor([-5]), torch.ones(1, 100), 10_000)
    assert payload.nbytes().item() == 2 + 2 + 1 + 8 + 400


@settings(max_examples=300)
@given(payloads())
def test_rows_are_the_same_bytes_together_and_one_by_one(payload):
    assert payload.encode_rows() == [payload.encode(row) for row in range(payload.rows)]


def test_rows_of_many_lengths_and_codings_are_the_same_bytes_together_and_one_by_one():
    counts = [0, 1, 5, 5, 40, 40, 40, 1000, 1, 900, 0, 5]
    payload = Maker(np.random.default_rng(3), torch.float32).sparse(1000, counts)
    rows = payload.encode_rows()
    assert len({data[5] for data in rows if data[4] != 0}) > 2  # several codings
    assert rows == [payload.select(slice(row, row + 1)).encode(0) for row in range(len(counts))]
    assert [len(data) for data in rows] == payload.nbytes().tolist()


def test_rows_are_coded_in_pieces_without_a_difference(monkeypatch):
    payload = Maker(np.random.default_rng(3), torch.float32).sparse(3000, [40] * 9 + [7] * 4)
    rows = payload.encode_rows()
    monkeypatch.setattr(support, "TOGETHER", 100)
    assert payload.encode_rows() == rows
    decoded = decode_rows([Reader(row, LIMITS) for row in rows])
    assert same_bits(concatenate(decoded), payload)


@pytest.mark.parametrize("name", [name for name, payload in COLLECTION.items() if payload.rows])
def test_every_class_reads_one_row_after_its_head(name: str):
    payload = COLLECTION[name]
    reader = Reader(payload.encode(0), LIMITS)
    cls, dtype, kind = _take_head(reader)
    assert cls is type(payload)
    assert same_bits(cls.decode(reader, dtype, kind), decode_payload(payload.encode(0), LIMITS))
