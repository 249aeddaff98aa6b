"""Messages as a whole: who sent them, for what, and undamaged."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_cases import COLLECTION, LIMITS, same_bits

from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.message import Dense, Payload, Scalars
from fedsparse.wire import (
    ENVELOPE_BYTES,
    SERVER,
    Envelope,
    Limits,
    check_envelope,
    decode_message,
    decode_messages,
    encode_message,
    encode_messages,
    message_nbytes,
)
from fedsparse.wire.envelope import seal

HERE = Envelope(run=2**64 - 1, round=17, phase=2, sender=5)


def message() -> dict[str, Payload]:
    return {"dx": COLLECTION["edges"], "@loss": COLLECTION["scalars"], "größe": Dense(torch.ones(2, 200))}


def framed(*fields: tuple[bytes, bytes]) -> bytes:
    """A message with this body and a checksum that fits: (name, payload) with lengths below 128."""
    body = b"".join(bytes((len(name),)) + name + bytes((len(payload),)) + payload for name, payload in fields)
    return seal(HERE, body)


@pytest.mark.parametrize("row", [0, 1])
def test_a_message_decodes_to_its_envelope_and_payloads(row):
    envelope, decoded = decode_message(encode_message(message(), row, HERE), LIMITS)
    assert envelope == HERE
    assert list(decoded) == sorted(message())
    for name, payload in message().items():
        assert same_bits(decoded[name], payload.select(slice(row, row + 1)))


@settings(max_examples=100)
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(-1, 2**63 - 1))
def test_every_allowed_envelope_travels(run, round_, phase, sender):
    envelope = Envelope(run, round_, phase, sender)
    assert decode_message(encode_message({}, 0, envelope), LIMITS) == (envelope, {})


def test_payload_and_header_bytes_add_up_to_the_message():
    payload, header = message_nbytes(message())
    assert (payload + header).tolist() == [len(encode_message(message(), row, HERE)) for row in (0, 1)]
    assert torch.equal(payload, sum(p.nbytes() for p in message().values()))


def test_the_envelope_is_at_most_40_bytes():
    assert len(encode_message({}, 0, HERE)) == ENVELOPE_BYTES <= 40


def test_the_order_of_names_in_the_mapping_does_not_matter():
    backwards = dict(reversed(message().items()))
    assert encode_message(backwards, 0, HERE) == encode_message(message(), 0, HERE)


def test_every_flipped_bit_is_noticed():
    data = encode_message({"a": Scalars(torch.ones(1, 2).double())}, 0, HERE)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecodeError):
            decode_message(bytes(damaged), LIMITS)


def test_every_cut_is_noticed():
    data = encode_message(message(), 0, HERE)
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            decode_message(data[:length], LIMITS)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("run", {"run": 1}),
        ("round", {"round": 16}),
        ("round", {"round": 18}),
        ("phase", {"phase": 0}),
        ("sender", {"sender": 6}),
        ("sender", {"sender": SERVER}),
    ],
)
def test_foreign_late_replayed_and_uninvited_messages_are_told_apart(field, changes):
    with pytest.raises(DecodeError, match=f"^{field}: "):
        check_envelope(dataclasses.replace(HERE, **changes), HERE.run, 17, 2, {5})


def test_an_awaited_envelope_passes_once():
    awaited = {5}
    check_envelope(HERE, HERE.run, 17, 2, awaited)
    awaited.remove(HERE.sender)
    with pytest.raises(DecodeError, match="sender"):
        check_envelope(HERE, HERE.run, 17, 2, awaited)


PAYLOAD = Dense(torch.ones(1, 1)).encode(0)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (framed((b"b", PAYLOAD), (b"a", PAYLOAD)), "name: 'a' after 'b'"),
        (framed((b"a", PAYLOAD), (b"a", PAYLOAD)), "name: 'a' after 'a'"),
        (framed((b"", PAYLOAD)), "name: ''"),
        (framed((b"\xff\xfe", PAYLOAD)), "not UTF-8"),
        (framed((b"a", PAYLOAD + b"\0")), "a: end: 1 bytes"),
        (framed((b"a", b"")), "a: class: 1 bytes expected, 0 left"),
        (seal(HERE, b"\1a\x05abc"), "a: payload length"),
        (seal(HERE, b"\5abc"), "name: 5 bytes expected"),
        (seal(HERE, b"")[:20], "envelope"),
        (seal(HERE, b"")[:35], "checksum"),
        (seal(HERE, b"") + b"x", "body length: 0 bytes are announced, 1 are there"),
        (b"xs" + seal(HERE, b"")[2:], "magic"),
        (b"fs\x09" + seal(HERE, b"")[3:], "version: 9"),
        (seal(HERE, b"abc")[:-1] + b"x", "checksum"),
    ],
)
def test_what_is_wrong_with_a_message_is_named(data, text):
    with pytest.raises(DecodeError) as caught:
        decode_message(data, LIMITS)
    assert text in str(caught.value)


def test_sender_numbers_below_the_servers_are_refused():
    envelope = dataclasses.replace(HERE)
    object.__setattr__(envelope, "sender", -2)
    with pytest.raises(DecodeError, match="sender: -2"):
        decode_message(encode_message({}, 0, envelope), LIMITS)


def test_the_number_of_payloads_in_a_message_is_limited():
    data = encode_message({str(i): Dense(torch.ones(1, 1)) for i in range(4)}, 0, HERE)
    assert len(decode_message(data, Limits(10, 1000, max_rows=4))[1]) == 4
    with pytest.raises(DecodeError, match="more than the 3"):
        decode_message(data, Limits(10, 1000, max_rows=3))


@pytest.mark.parametrize(
    "wrong", [{"run": -1}, {"run": 2**64}, {"round": 2**32}, {"phase": 256}, {"sender": -2}]
)
def test_envelopes_out_of_range_are_refused(wrong):
    with pytest.raises(ProtocolError, match=next(iter(wrong))):
        dataclasses.replace(HERE, **wrong)


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_names_must_have_1_to_255_bytes(name):
    with pytest.raises(ProtocolError, match="1 to 255"):
        encode_message({name: COLLECTION["scalars"]}, 0, HERE)


@pytest.mark.parametrize(
    "payloads", [{}, {"a": COLLECTION["scalars"], "b": COLLECTION["scalars"].select(slice(1))}]
)
def test_lengths_need_payloads_with_equally_many_rows(payloads):
    with pytest.raises(ProtocolError, match="rows"):
        message_nbytes(payloads)


ENVELOPES = [dataclasses.replace(HERE, sender=sender) for sender in (5, 7)]


def test_messages_are_the_same_bytes_together_and_one_by_one():
    alone = [encode_message(message(), row, envelope) for row, envelope in enumerate(ENVELOPES)]
    assert encode_messages(message(), ENVELOPES) == alone


def test_as_many_envelopes_as_rows_are_needed():
    with pytest.raises(ValueError, match="zip"):
        encode_messages(message(), ENVELOPES[:1])


def test_messages_of_several_kinds_are_decoded_together_as_one_by_one():
    many = [encode_message({name: COLLECTION[name]}, row, HERE) for name in COLLECTION for row in (0, 1)]
    many += [encode_message(message(), 0, HERE), seal(HERE, b"")]
    for data, found in zip(many, decode_messages(many, LIMITS), strict=True):
        envelope, decoded = decode_message(data, LIMITS)
        assert isinstance(found, tuple)
        assert found[0] == envelope
        assert list(found[1]) == list(decoded)
        assert all(same_bits(found[1][name], decoded[name]) for name in decoded)


def test_no_messages_are_decoded_to_none():
    assert decode_messages([], LIMITS) == []
