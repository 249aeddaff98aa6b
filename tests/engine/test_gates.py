"""The gates: bytes that are damaged, foreign, late or of another kind are dropped and counted; the round goes on."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedsparse.engine.calls import TrainReply
from fedsparse.engine.checks import finite_rows, shape_of
from fedsparse.engine.gates import Gates
from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.message import Dense, Payload, Sparse
from fedsparse.wire import Envelope, encode_message, pack

IDS = np.array([3, 5, 8])
ALL = np.ones(3, dtype=bool)
RUN, ROUND, PHASE = 77, 4, 1
MESSAGE: dict[str, Payload] = {"g": Dense(torch.arange(12, dtype=torch.float64).reshape(3, 4))}


def cover(sender: int, **other: int) -> Envelope:
    return Envelope(**({"run": RUN, "round": ROUND, "phase": PHASE, "sender": sender} | other))


def gates(max_norm: float | None = None) -> Gates:
    return Gates("Mine", RUN, ROUND, PHASE, shape_of(MESSAGE), max_norm)


def reply(*encoded: bytes, message: dict[str, Payload] = MESSAGE) -> TrainReply:
    nothing = np.zeros(3, dtype=np.int64)
    return TrainReply(
        shapes=shape_of(message),
        packed={},
        encoded=list(encoded),
        finite=None,
        payload_bytes=nothing,
        header_bytes=nothing,
        dense_bytes=nothing,
        loss=nothing,
        gradient_calls=nothing,
        examples=nothing,
    )


def sound() -> list[bytes]:
    return [encode_message(MESSAGE, row, cover(sender)) for row, sender in enumerate(IDS.tolist())]


def swapped(other: Envelope, row: int = 1, message: dict[str, Payload] = MESSAGE) -> bytes:
    return encode_message(message, row, other)


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "envelope"),
    "cut": (lambda: sound()[1][:-1], "body length"),
    "damaged": (lambda: sound()[1][:-1] + bytes([sound()[1][-1] ^ 1]), "checksum"),
    "another run": (lambda: swapped(cover(5, run=78)), "run"),
    "an earlier round": (lambda: swapped(cover(5, round=3)), "round"),
    "another phase": (lambda: swapped(cover(5, phase=0)), "phase"),
    "another sender": (lambda: swapped(cover(3)), "sender"),
    "another name": (lambda: swapped(cover(5), message={"h": MESSAGE["g"]}), "kind"),
    "another dtype": (lambda: swapped(cover(5), message={"g": Dense(torch.zeros(3, 4))}), "kind"),
    "too few numbers": (
        lambda: swapped(cover(5), message={"g": Dense(torch.zeros(3, 3, dtype=torch.float64))}),
        "kind",
    ),
    "too many numbers": (
        lambda: swapped(cover(5), message={"g": Dense(torch.zeros(3, 9, dtype=torch.float64))}),
        "g",
    ),
    "too many bytes": (
        lambda: swapped(cover(5), message={"g": Dense(torch.zeros(3, 4000, dtype=torch.float64))}),
        "length",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_message_that_does_not_belong_is_dropped_and_counted(case: str):
    first, _, last = sound()
    bad, field = BAD[case]
    gate = gates()
    message, passed = gate.open(reply(first, bad(), last), IDS, ALL)
    assert passed.tolist() == [True, False, True]
    assert gate.refused == {5: f"decode: {field}"}
    assert message["g"].dense().tolist() == [[0, 1, 2, 3], [8, 9, 10, 11]]


def test_nobody_looks_at_a_message_that_did_not_arrive():
    first, second, _ = sound()
    gate = gates()
    message, passed = gate.open(reply(first, second, b"garbage"), IDS, np.array([True, False, False]))
    assert passed.tolist() == [True, False, False]
    assert not gate.refused
    assert message["g"].rows == 1


def test_a_block_of_which_nothing_passes_gives_no_message():
    gate = gates()
    message, passed = gate.open(reply(b"", b"", b""), IDS, ALL)
    assert message == {}
    assert not passed.any()


@pytest.mark.parametrize("largest", [1.0, 10.0, 15.0, 1000.0])
def test_the_norm_of_each_payload_is_bounded(largest: float):
    norms = MESSAGE["g"].norm().numpy()
    _, passed = (gate := gates(largest)).open(reply(*sound()), IDS, ALL)
    assert passed.tolist() == (norms <= largest).tolist()
    assert set(gate.refused.values()) <= {"norm above the limit"}


def test_a_nan_is_told_as_such_and_not_as_a_norm():
    message: dict[str, Payload] = {"g": Dense(MESSAGE["g"].dense().clone().fill_(torch.nan))}
    encoded = [encode_message(message, row, cover(sender)) for row, sender in enumerate(IDS.tolist())]
    (gate := gates(1.0)).open(reply(*encoded), IDS, ALL)
    assert set(gate.refused.values()) == {"not finite"}


LARGEST = torch.finfo(torch.float32).max
ROWS = torch.tensor(
    [[1, 2], [torch.nan, 1], [LARGEST, LARGEST], [torch.inf, -torch.inf], [-torch.inf, 3], [0, 0]]
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_senders_of_finite_numbers_are_found_also_where_their_sum_is_not(dtype: torch.dtype):
    found = finite_rows({"g": Dense(ROWS.to(dtype)), "h": Dense(torch.zeros(6, 3))})
    assert found.tolist() == [True, False, True, False, False, True]
    kept = torch.tensor([[0, 1]] * 6)
    assert finite_rows({"g": Sparse.of(kept, ROWS.to(dtype), 9)}).equal(found)


def test_what_the_worker_found_is_for_each_sender_also_where_messages_are_missing():
    answer = replace(reply(), encoded=None, packed=pack(MESSAGE), finite=np.array([True, True, False]))
    gate = gates()
    message, passed = gate.open(answer, IDS, np.array([False, True, True]))
    assert passed.tolist() == [False, True, False]
    assert gate.refused == {8: "not finite"}
    assert message["g"].dense().tolist() == [[4, 5, 6, 7]]


def test_a_message_of_another_kind_by_our_own_worker_is_the_strategys_mistake():
    with pytest.raises(
        ProtocolError, match=r"Mine: a message has .*'h'.*, but earlier ones of this phase had .*'g'"
    ):
        gates().open(reply(*sound(), message={"h": MESSAGE["g"]}), IDS, ALL)


def test_the_first_message_of_a_phase_fixes_its_kind():
    gate = Gates("Mine", RUN, ROUND, PHASE, None, None)
    gate.open(reply(*sound()), IDS, ALL)
    assert gate.shapes == shape_of(MESSAGE)


def test_one_message_is_decoded_for_its_sender_only():
    assert gates().decode_one(sound()[0], 3)["g"].dense().tolist() == [[0, 1, 2, 3]]
    with pytest.raises(DecodeError, match="sender"):
        gates().decode_one(sound()[0], 5)
