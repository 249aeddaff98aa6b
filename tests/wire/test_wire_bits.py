"""Packed numbers and numbers of variable length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsparse.errors import DecodeError
from fedsparse.wire import Limits, bits
from fedsparse.wire.reader import Reader

ANY = Limits(2**62, 2**20)


@pytest.mark.parametrize("width", range(57))
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
def test_numbers_of_every_width_come_back(width, count):
    top = 2**width - 1
    numbers = np.random.default_rng(width).integers(0, top, count, endpoint=True)
    numbers[:1] = top
    packed = bits.pack(numbers, width)
    assert len(packed) == bits.packed_nbytes(count, width) == -(-count * width // 8)
    assert np.array_equal(bits.unpack(packed, count, width), numbers)


def test_packed_numbers_lie_as_documented():
    # Ten bits each: the low bytes 0x34 and 0xff, then the upper bits 0b10 and 0b01, low ones first.
    assert bits.pack(np.array([0x234, 0x1FF]), 10) == bytes((0x34, 0xFF, 0b0110))


@settings(max_examples=200)
@given(st.integers(0, 2**63 - 1))
def test_variable_lengths_are_known_and_come_back(number):
    data = bits.varint(number)
    assert bits.varint_nbytes(torch.tensor([number])).tolist() == [len(data)]
    assert Reader(data, ANY).varint("number", 2**63 - 1) == number


def test_lengths_step_at_multiples_of_seven_bits():
    edges = [0, 127, 128, 2**14 - 1, 2**14, 2**56, 2**63 - 1]
    assert bits.varint_nbytes(torch.tensor(edges)).tolist() == [len(bits.varint(n)) for n in edges]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x80\x00", "shortest form"),
        (b"\x80" * 30, "more than 63 bits"),
        (b"\xff" * 30, "at most"),
        (b"\x80", "1 bytes expected, 0 left"),
        (b"", "1 bytes expected, 0 left"),
    ],
)
def test_only_the_shortest_form_of_a_number_is_read(data, text):
    with pytest.raises(DecodeError, match=text):
        Reader(data, ANY).varint("number", 2**62)


def test_bits_that_fill_up_must_be_zero():
    with pytest.raises(DecodeError, match="codes: the 4 bits"):
        Reader(b"\x10", ANY).packed(2, 2, "codes")
    with pytest.raises(DecodeError, match="signs: the 7 bits"):
        Reader(b"\x03", ANY).flags(1, "signs")


def test_messages_over_the_limit_are_not_looked_at():
    with pytest.raises(DecodeError, match="length: 11 bytes; at most 10"):
        Reader(bytes(11), Limits(1, 10))
