"""The format itself, byte by byte: a change here is a new version of the format."""

from __future__ import annotations

import pytest
import torch

from fedsparse.message import (
    Dense,
    Exponents,
    LowRank,
    Mask,
    MaskedDense,
    PerEdge,
    Quantized,
    Ragged,
    Scalars,
    SeededSparse,
    Sign,
    Sparse,
    round_to,
)
from fedsparse.wire import Envelope, encode_message

EVEN = torch.arange(8)[None] * 2
TERNARY = torch.tensor([[-1, 0, 1, 1]], dtype=torch.int32)
SIGNS = torch.tensor([[True, False, True]])
INT8, INT8_SCALE = round_to(torch.tensor([[127.0, -3.0]]), "int8")
RICE = torch.tensor([[3, 40, 41, 300, 511, 700, 702, 999]])


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (Dense(torch.tensor([[1.0, -2.0]])), "10 01 02 0000803f 000000c0"),
        (Dense(torch.tensor([[1.0]], dtype=torch.float64)), "10 08 01 000000000000f03f"),
        (Dense(torch.tensor([[1.0, -2.0]]), "fp16"), "10 02 02 003c 00c0"),
        (Dense(torch.tensor([[1.0, -2.0]]), "bf16"), "10 03 02 803f 00c0"),
        (Dense(INT8, "int8", INT8_SCALE), "10 04 02 0000803f 7f fd"),
        (MaskedDense(torch.tensor([[1.0]])), "11 01 01 0000803f"),
        (Sparse.of(torch.tensor([[1, 3]]), torch.ones(1, 2), 10, "fp16"), "12 02 0a 02 00 003c003c 31"),
        (
            Sparse.of(EVEN, torch.ones(1, 8), 16, "fp16"),
            "12 02 10 08 01" + "003c" * 8 + "5555",
        ),
        (
            Sparse.of(RICE, torch.ones(1, 8), 1000, "fp16"),
            "12 02 e807 08 08" + "003c" * 8 + "030908121fa0" + "87c810",
        ),
        (SeededSparse(torch.tensor([-2]), torch.ones(1, 1), 300), "13 01 ac02 01 feffffffffffffff 0000803f"),
        (
            Quantized(TERNARY, torch.ones(1), 1),
            "14 01 04 01 ff 0000803f a4",
        ),
        (
            Quantized(torch.eye(1, 64, dtype=torch.int32), torch.ones(1), 1),
            "14 01 40 01 00 0000803f 01 01 00",
        ),
        (Exponents.of(torch.tensor([[1.0, -0.5, 0.0]])), "15 01 03 7f 7e 00 02"),
        (
            Sign(SIGNS, torch.tensor([[1.0, 2.0]])),
            "16 01 03 02 0000803f 00000040 05",
        ),
        (LowRank(torch.ones(1, 2, 1), torch.ones(1, 1, 1), "fp16"), "17 02 02 01 01 003c003c003c"),
        (Scalars(torch.ones(1, 1).double()), "18 08 01 000000000000f03f"),
        (Ragged(torch.ones(1), torch.tensor([0, 1]), 300), "1b 01 ac02 01 0000803f"),
        (Mask(torch.tensor([[True, False, True]])), "1a 01 03 02 00 08"),
        (
            PerEdge(MaskedDense(torch.ones(2, 1)), torch.tensor([0, 2])),
            "19 01 02" + "07 11 01 01 0000803f" * 2,
        ),
    ],
)
def test_each_class_is_written_as_ever(payload, expected):
    assert payload.encode(0) == bytes.fromhex(expected)


def test_a_message_is_written_as_ever():
    message = {"dx": Dense(torch.ones(1, 1)), "@n": Scalars(torch.zeros(1, 0).double())}
    expected = """
        6673 01 02 03000000 0400000000000000 ffffffffffffffff 1200000000000000 f3a172e6baf3a512
        02 406e 03 180800  02 6478 07 1001010000803f
    """
    assert encode_message(message, 0, Envelope(run=4, round=3, phase=2, sender=-1)) == bytes.fromhex(expected)
