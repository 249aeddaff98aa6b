"""Bytes that an enemy sent: a valid payload or a DecodeError, soon, and without much memory."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_cases import COLLECTION, LIMITS, Maker

from fedsparse.errors import DecodeError
from fedsparse.message import Payload, Sparse
from fedsparse.wire import Limits, bits, decode_message, decode_messages, decode_payload, encode_messages
from fedsparse.wire.envelope import Envelope, encode_message, seal
from fedsparse.wire.payload import head
from fedsparse.wire.reader import attempt

TIGHT = Limits(max_size=100_000, max_bytes=1 << 20)
F32, F64 = torch.float32, torch.float64
VALID = [p.encode(row) for p in COLLECTION.values() for row in range(p.rows)]


def mutate(rng: np.random.Generator, data: bytes) -> bytes:
    """One random change, or several."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, len(out) + 1))
        change = rng.integers(0, 6)
        if change == 0 and out:
            out[at % len(out)] ^= 1 << int(rng.integers(0, 8))
        elif change == 1:
            del out[at:]
        elif change == 2:
            out += rng.bytes(int(rng.integers(1, 9)))
        elif change == 3:
            other = VALID[rng.integers(0, len(VALID))]
            out[at:] = other[int(rng.integers(0, len(other))) :]
        elif change == 4:
            out[at : at + 4] = rng.bytes(int(rng.integers(0, 9)))
        elif out:
            out[at % min(len(out), 9)] = int(rng.integers(0, 256))
    return bytes(out)


def check(data: bytes) -> bool:
    """Whether the bytes decode; if so, what came out must be usable and encode to the same bytes again."""
    try:
        payload = decode_payload(data, TIGHT)
    except DecodeError:
        return False
    assert payload.rows == 1
    assert payload.size <= TIGHT.max_size
    assert payload.nbytes().tolist() == [len(data)]
    if payload.finite().item():
        assert payload.encode(0) == data
        assert payload.dense().isfinite().all()
    return True


def mutations(count: int, seed: int) -> list[bool]:
    rng = np.random.default_rng(seed)
    return [check(mutate(rng, VALID[rng.integers(0, len(VALID))])) for _ in range(count)]


def test_3000_mutated_payloads_decode_validly_or_raise_decode_error():
    outcomes = mutations(3_000, seed=0)
    assert 0 < sum(outcomes) < len(outcomes)


@pytest.mark.slow
def test_100000_mutated_payloads_decode_validly_or_raise_decode_error():
    outcomes = mutations(100_000, seed=1)
    assert 0 < sum(outcomes) < len(outcomes)


@settings(max_examples=300)
@given(st.binary(max_size=60), st.integers(0, 11), st.integers(0, 12))
def test_arbitrary_bytes_behind_a_valid_head_decode_validly_or_raise_decode_error(data, code, kind):
    check(bytes((0x10 | code, kind)) + data)


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_arbitrary_bytes_in_an_undamaged_envelope_raise_at_most_decode_error(body):
    with contextlib.suppress(DecodeError):
        decode_message(seal(Envelope(1, 2, 3, 4), body), TIGHT)


def test_mutated_messages_with_a_checksum_that_fits_raise_at_most_decode_error():
    rng = np.random.default_rng(3)
    whole = encode_message({"a": COLLECTION["edges"], "b": COLLECTION["scalars"]}, 0, Envelope(1, 2, 3, 4))
    for _ in range(500):
        try:
            _, message = decode_message(seal(Envelope(1, 2, 3, 4), mutate(rng, whole[40:])), TIGHT)
        except DecodeError:
            continue
        assert all(isinstance(payload, Payload) for payload in message.values())


def outcome(found: object) -> object:
    """What a decoder found, to compare: the bytes of what it read, or what was wrong with them."""
    return str(found) if isinstance(found, DecodeError) else [(n, p.encode(0)) for n, p in found[1].items()]


@pytest.mark.parametrize("seed", range(4))
def test_damaged_messages_among_others_have_the_outcome_that_they_have_alone(seed):
    rng = np.random.default_rng(seed)
    payload = Maker(rng, F32).sparse(5000, [40] * 60)
    many = [
        seal(Envelope(1, 2, 3, 4), body[40:] if rng.random() < 0.7 else mutate(rng, body[40:]))
        for body in encode_messages({"a": payload}, [Envelope(1, 2, 3, 4)] * payload.rows)
    ]
    together = decode_messages(many, TIGHT)
    assert 0 < sum(isinstance(found, DecodeError) for found in together) < len(many)
    for data, found in zip(many, together, strict=True):
        assert outcome(found) == outcome(attempt(decode_message, data, TIGHT))


def test_one_message_with_wrong_quotients_spoils_no_other_of_its_shape():
    rows = [
        bytearray(row) for row in Maker(np.random.default_rng(0), F32).sparse(5000, [40] * 9).encode_rows()
    ]
    rows[3][-1] = 0
    rows[5][-2] ^= 0xFF
    messages = [seal(Envelope(1, 2, 3, 4), b"\x01a" + bits.varint(len(row)) + row) for row in rows]
    found = decode_messages(messages, TIGHT)
    assert [at for at, one in enumerate(found) if isinstance(one, DecodeError)] == [3, 5]
    assert str(found[3]).startswith("a: quotients: ")


def test_an_index_too_many_in_one_message_does_not_make_up_for_one_too_few_in_the_next():
    rows = Maker(np.random.default_rng(0), F32).sparse(5000, [40] * 9).encode_rows()
    more, less = map(bytearray, [row for row in rows if row[-1] < 0x80 and row[-3]][:2])
    more[-1] |= 0x80
    less[-3] &= less[-3] - 1
    messages = [seal(Envelope(1, 2, 3, 4), b"\x01a" + bits.varint(len(row)) + row) for row in (more, less)]
    assert all(isinstance(one, DecodeError) for one in decode_messages(messages, TIGHT))


def test_a_quotient_that_leads_beyond_the_size_is_refused_however_large_that_is():
    size = 2**62
    data = head(2, F32) + numbers(size, 1) + bytes((2 + 62,)) + ONE + bytes(8) + b"\x10"
    with pytest.raises(DecodeError, match="outside the 4611686018427387904 coordinates"):
        decode_payload(data, Limits(size, 100))


def numbers(*values: int) -> bytes:
    return b"".join(bits.varint(value) for value in values)


HUGE = 2**62


@pytest.mark.parametrize("size", [2**31, HUGE, 99_999])
@pytest.mark.parametrize("code", range(10))
def test_huge_announced_sizes_are_refused_at_once_and_without_memory(code, size):
    data = head(code, F64 if code == 8 else F32) + numbers(size, size, size) + bytes(20)
    tracemalloc.start()
    begin = time.process_time()
    with pytest.raises(DecodeError):
        decode_payload(data, TIGHT)
    seconds = time.process_time() - begin
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
    assert seconds < 0.5


def sparse(size: int, count: int, coding: int, values: bytes, rest: bytes) -> bytes:
    return head(2, F32) + numbers(size, count) + bytes((coding,)) + values + rest


def edges(*rows: bytes) -> bytes:
    return head(9, F32) + numbers(len(rows)) + b"".join(numbers(len(row)) + row for row in rows)


ONE = bytes(4)
DENSE = head(0, F32) + numbers(1) + ONE


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "class"),
        (b"\x20\x01", "version: 2"),
        (b"\x1f\x01", "class: 15"),
        (b"\x10\x05", "kind: 0x5"),
        (b"\x10\x11", "kind: 0x11"),
        (b"\x10\x00", "kind: 0x0"),
        (DENSE + b"\0", "end: 1 bytes"),
        (DENSE[:-1], "values: 4 bytes expected, 3 left"),
        (head(0, F32) + numbers(100_001), "size: 100001"),
        (sparse(10, 11, 0, b"", b""), "count: 11"),
        # Two indices of four bits: descending, equal, out of range.
        (sparse(10, 2, 0, ONE * 2, b"\x12"), "not strictly ascending"),
        (sparse(10, 2, 0, ONE * 2, b"\x22"), "not strictly ascending"),
        (sparse(10, 2, 0, ONE * 2, b"\xb2"), "11 is outside the 10 coordinates"),
        (sparse(10, 2, 0, ONE * 2, b"\x32\x00"), "end: 1 bytes"),
        (sparse(10, 3, 1, ONE * 3, b"\x03\x00"), "bitmap: 2 bits are set, the message says 3"),
        (sparse(10, 2, 1, ONE * 2, b"\x03\x80"), "bitmap: the 6 bits"),
        (sparse(10, 2, 1, ONE * 2, b"\x03\x00\x00"), "end: 1 bytes"),
        (sparse(10, 2, 1, ONE * 2, b"\x03\x00"), "every sender uses 0"),
        (sparse(10, 0, 1, b"", b"\x00\x00"), "every sender uses 0"),
        (sparse(10, 2, 9, ONE * 2, b""), "Rice parameter 7"),
        (sparse(1000, 9, 2 + 5, ONE * 9, bytes(3)), "remainders"),
        (sparse(1000, 9, 2 + 5, ONE * 9, bytes(6) + b"\xff"), "quotients: 8 of 9"),
        (sparse(1000, 9, 2 + 5, ONE * 9, bytes(6) + b"\xff\x01\x00"), "do not end with the last one"),
        (sparse(1000, 9, 2 + 5, ONE * 9, bytes(6) + bytes(9)), "at most 5 are possible"),
        (sparse(1000, 0, 2 + 8, b"", b"\x00"), "0 of 0 in 1 bytes"),
        (sparse(100, 3, 2 + 4, ONE * 3, b"\xff\x0f" + b"\xe0"), "is outside the 100 coordinates"),
        (head(3, F32) + numbers(10, 11), "count: 11"),
        (head(4, F32) + numbers(1, 0), "levels: 0"),
        (head(4, F32) + numbers(1, 2**31), "levels: 2147483648"),
        (head(4, F32, "fp16") + numbers(1, 1), "kind: fp16"),
        (head(4, F32) + numbers(2, 2) + b"\xff" + ONE + b"\x05", "codes: 3 is above the 2 levels"),
        (
            head(4, F32) + numbers(90, 3) + b"\0" + ONE + numbers(1) + b"\x06\x05",
            "codes: 4 is above the 3 levels",
        ),
        (head(4, F32) + numbers(90, 1) + b"\xff" + ONE + b"\x55" * 22 + b"\x05", "not the shortest"),
        (head(5, F64, "fp32") + numbers(1), "kind: fp32"),
        (head(6, F32) + numbers(0, 0), "0 coordinates cannot be cut into 0 blocks"),
        (head(6, F32) + numbers(9, 8), "9 coordinates cannot be cut into 8 blocks"),
        (head(7, F32, "int8") + numbers(1, 1, 1), "int8"),
        (head(7, F32) + numbers(1, 1, 0), "1 x 1 of rank 0"),
        (head(7, F32) + numbers(1000, 1000, 1), "1000 x 1000"),
        (head(8, F32) + numbers(1), "scalars are fp64"),
        (head(10, F64) + numbers(1), "masks are fp32"),
        (head(9, F64) + numbers(0), "marked fp32"),
        (edges(edges()), "inside of values per neighbour"),
        (edges(DENSE, head(1, F32) + numbers(1) + ONE), "neighbours: cannot put payloads of several classes"),
        (edges(DENSE) + b"\0", "end: 1 bytes"),
        (edges(*[DENSE] * 1024), "payloads: more than the 1024"),
    ],
)
def test_what_is_wrong_is_named(data, text):
    with pytest.raises(DecodeError) as caught:
        decode_payload(data, TIGHT)
    assert text in str(caught.value)


def test_seeds_stand_for_no_more_indices_than_32_bits_can_tell_apart():
    with pytest.raises(DecodeError, match="size: 4294967297"):
        decode_payload(head(3, F32) + numbers(2**32 + 1, 1) + bytes(12), Limits(2**40, 100))


def int8(scale: float, *codes: int) -> bytes:
    values = np.array(scale, dtype="<f4").tobytes() + np.array(codes, dtype=np.int8).tobytes()
    return head(0, F32, "int8") + numbers(len(codes)) + values


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (int8(-1.0, 1), "scale: -1.0 is negative"),
        (int8(-0.0, 0), "scale: -0.0 is negative"),
        (int8(3e38, 1), "would overflow"),
        (int8(1.0, -128), "-128 is not used"),
        (int8(0.0, 1), "scale 0.0, which cannot carry them"),
        (int8(float("inf"), 1), "scale inf"),
        (int8(float("nan"), 1), "scale nan"),
    ],
)
def test_scales_that_no_sender_computes_are_refused(data, text):
    with pytest.raises(DecodeError) as caught:
        decode_payload(data, LIMITS)
    assert text in str(caught.value)


@pytest.mark.parametrize("scale", [float("inf"), float("nan")])
def test_a_scale_that_is_not_finite_decodes_to_what_the_gate_refuses(scale):
    assert not decode_payload(int8(scale, 0, 0), LIMITS).finite().item()


def test_decoding_takes_little_more_memory_than_what_it_returns():
    payload = Sparse.of(torch.arange(0, 100_000, 10)[None], torch.ones(1, 10_000), 100_000)
    data = payload.encode(0)
    decode_payload(data, LIMITS)
    tracemalloc.start()
    decode_payload(data, LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 10_000 * (8 + 4)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_of_bytes_is_read(kind: Callable[[bytes], bytes]):
    assert decode_payload(kind(DENSE), LIMITS).size == 1
