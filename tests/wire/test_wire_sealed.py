"""What is passed on unopened is the bytes that came, and says nothing that only its receivers may know."""

import pytest
import torch

from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.wire import (
    Dense,
    Envelope,
    Limits,
    Sealed,
    Sparse,
    concatenate,
    decode_message,
    encode_message,
    message_nbytes,
    pass_on,
)
from fedsparse.wire.reader import Reader

LIMITS = Limits(max_size=100, max_bytes=1 << 12)
ENVELOPE = Envelope(run=7, round=3, phase=1, sender=2)
MESSAGE = {
    "q": Sparse.of(torch.tensor([[1, 4]]), torch.tensor([[1.0, -2.0]]), 9),
    "w": Dense(torch.ones(1, 5)),
}
SENT = encode_message(MESSAGE, 0, ENVELOPE)


def test_the_envelope_the_names_and_the_lengths_are_those_of_the_message() -> None:
    envelope, sealed = pass_on(SENT, LIMITS)
    assert envelope == ENVELOPE
    assert {name: payload.encode(0) for name, payload in sealed.items()} == {
        name: payload.encode(0) for name, payload in MESSAGE.items()
    }
    assert [int(part[0]) for part in message_nbytes(sealed)] == [int(p[0]) for p in message_nbytes(MESSAGE)]


def test_what_is_put_together_again_is_the_message() -> None:
    assert encode_message(pass_on(SENT, LIMITS)[1], 0, ENVELOPE) == SENT


def test_damage_outside_is_seen_and_inside_is_not() -> None:
    with pytest.raises(DecodeError, match="checksum"):
        pass_on(SENT[:-1] + bytes([SENT[-1] ^ 1]), LIMITS)
    nonsense = encode_message({"q": Sealed((b"no payload",))}, 0, ENVELOPE)
    assert pass_on(nonsense, LIMITS)[1]["q"].encode(0) == b"no payload"
    with pytest.raises(DecodeError):
        decode_message(nonsense, LIMITS)


def test_rows_are_selected_and_put_together_like_those_of_any_payload() -> None:
    both = concatenate([Sealed((b"a", b"bb")), Sealed((b"ccc",))])
    assert both.rows == 3
    assert both.nbytes().tolist() == [1, 2, 3]
    assert both.finite().tolist() == [True] * 3
    assert both.select(torch.tensor([2, 0])).data == (b"ccc", b"a")
    assert both.select(torch.tensor([True, False, True])).data == (b"a", b"ccc")
    assert both.select(slice(1, 3)).data == (b"bb", b"ccc")


def test_the_class_is_read_from_the_first_byte() -> None:
    sealed = pass_on(SENT, LIMITS)[1]
    assert sealed["w"].stands_for(Dense)
    assert not sealed["q"].stands_for(Dense)
    assert not Sealed((b"",)).stands_for(Dense)


def test_what_it_stands_for_is_not_to_be_had() -> None:
    sealed = Sealed((b"a",))
    assert (sealed.size, sealed.dtype) == (0, torch.uint8)
    with pytest.raises(ProtocolError, match="passed on"):
        sealed.dense()
    with pytest.raises(ProtocolError, match="no"):
        Sealed.decode(Reader(b"a", LIMITS), torch.float32, "fp32")
