"""What the server says: compressed with a memory, charged by what each receiver missed, and encoded on request."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from server_cases import Pieces, Pulls, column

from fedsparse.compress import QSGD, Identity, RandK, TopK
from fedsparse.engine.downlink import Downlink, plain
from fedsparse.engine.faults import Faults
from fedsparse.engine.gates import Gates
from fedsparse.errors import ProtocolError
from fedsparse.message import Dense, Sparse
from fedsparse.simulation import simulate
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.scaffold import Scaffold
from fedsparse.wire import ENVELOPE_BYTES, SERVER, Envelope, encode_message, envelope

ALL = np.arange(4)
EVERYBODY = np.ones(4, dtype=bool)


def values(round_: int, size: int = 100) -> dict[str, Dense]:
    """A vector that moves a little every round."""
    generator = torch.Generator().manual_seed(1)
    first = torch.randn(1, size, generator=generator, dtype=torch.float64)
    return {"x": Dense(first * (1 + 0.01 * round_))}


def test_without_a_compressor_what_is_said_is_what_is_decoded():
    said = Downlink(Identity(), 0, shared=False).say(values(0), 0, "train")
    assert said.values["x"].equal(values(0)["x"].values)
    assert said.replicated == frozenset()


def test_the_first_broadcast_is_dense_and_later_ones_are_compressed_changes():
    line = Downlink(TopK(0.1), 0, shared=False)
    sent = [line.say(values(r), r, "train").message["x"] for r in range(3)]
    assert [type(payload) for payload in sent] == [Dense, Sparse, Sparse]


def test_the_audience_decodes_the_replica_that_the_server_keeps():
    line = Downlink(TopK(0.1), 0, shared=False)
    first, second = (line.say(values(r), r, "train") for r in range(2))
    expected = first.values["x"] + second.message["x"].dense()
    assert second.values["x"].equal(expected)
    assert line.replicas["x"].equal(expected)


@pytest.mark.parametrize("compressor", [TopK(0.1), RandK(0.1), QSGD()])
def test_what_was_left_out_is_made_up_for(compressor):
    line = Downlink(compressor, 0, shared=False)
    line.say({"x": Dense(torch.zeros(1, 100, dtype=torch.float64))}, 0, "train")
    for r in range(1, 300):
        said = line.say(values(0), r, "train")
    torch.testing.assert_close(said.values["x"], values(0)["x"].values, rtol=1e-4, atol=1e-6)


def test_a_name_cannot_change_its_length_under_compression():
    line = Downlink(TopK(0.1), 0, shared=False)
    line.say(values(0), 0, "train")
    with pytest.raises(ProtocolError, match=r"broadcast 'x' is \(1, 50\) .* it was \(1, 100\)"):
        line.say(values(1, size=50), 1, "vote")


def test_whatever_is_not_dense_or_has_rows_for_each_client_travels_as_it_is():
    line = Downlink(TopK(0.1), 0, shared=False)
    message = {"id": column(torch.arange(4))} | values(0)
    for r in range(2):
        said = line.say(message, r, "train")
        assert said.message["id"] is message["id"]
        assert said.replicated == {"x"}


# ---- what it costs


def cost(line: Downlink, message: dict[str, Any], round_: int, arrived=EVERYBODY, held=None):
    return line.cost(line.say(message, round_, "train"), ALL, arrived, held or {})


def test_everybody_pays_for_the_message():
    found = cost(Downlink(Identity(), 0, shared=False), values(0), 0)
    assert found.payload.tolist() == [int(values(0)["x"].nbytes())] * 4
    assert found.dense.tolist() == [800] * 4


def test_rows_for_each_client_and_for_all_are_charged_to_each():
    ragged = Sparse(
        indices=torch.tensor([0, 0, 1, 0, 1, 2]),
        values=torch.ones(6, dtype=torch.float64),
        offsets=torch.tensor([0, 0, 1, 3, 6]),
        size=100,
    )
    message = {"own": ragged} | values(0)
    found = cost(Downlink(Identity(), 0, shared=False), message, 0)
    both = {"own": ragged, "x": Dense(values(0)["x"].values.repeat(4, 1))}
    payload, header = envelope.message_nbytes(both)
    assert found.payload.tolist() == payload.tolist()
    assert found.header.tolist() == header.tolist()


def test_an_absentee_is_brought_up_to_date_at_the_cost_of_what_it_missed():
    line = Downlink(TopK(0.05), 0, shared=False)
    news = [cost(line, values(r), r, ALL < 4 if r in {0, 3} else ALL < 2).payload.tolist() for r in range(4)]
    assert news[3][2] == news[1][0] + news[2][0] + news[3][0]
    assert news[3][0] < news[3][2] < 800


def test_an_absentee_is_never_charged_more_than_the_dense_values():
    line = Downlink(TopK(0.4), 0, shared=False)
    news = [cost(line, values(r), r, ALL < 4 if r in {0, 9} else ALL < 2).payload.tolist() for r in range(10)]
    assert news[9][2] == news[0][0]


def encoded_nbytes(message: dict[str, Any]) -> int:
    """Length of a message of one row as it really travels."""
    return len(encode_message(message, 0, Envelope(run=7, round=3, phase=0, sender=SERVER)))


@pytest.mark.parametrize(("missed", "shorter"), [(1, "news"), (4, "news"), (15, "news"), (30, "whole")])
def test_an_absentee_is_charged_what_the_messages_that_it_missed_encode_to(missed: int, shorter: str):
    line, own = Downlink(TopK(0.05), 0, shared=False), {"own": column(torch.arange(4))}
    lengths: list[int] = []
    for r in range(missed + 2):
        said = line.say(values(r, 2000) | own, r, "train")
        here = ALL < 4 if r in {0, missed + 1} else ALL < 2
        found = line.cost(said, ALL, here, {})
        lengths.append(encoded_nbytes({"x": said.message["x"]}))
    row = {"own": own["own"].select(slice(2, 3))}
    last = encoded_nbytes({"x": said.message["x"]} | row)
    whole = encoded_nbytes({"replica.x": Dense(line.replicas["x"])} | row)
    news = sum(lengths[1:-1]) + last
    assert {"news": news < whole, "whole": whole < news}[shorter]
    assert found.total.tolist() == [last, last, min(news, whole), min(news, whole)]
    assert found.header[2] - found.header[0] == (missed * (ENVELOPE_BYTES + 4) if news < whole else 8)


@pytest.mark.parametrize("missed", [1, 2, 5])
def test_who_shares_what_it_holds_is_charged_what_encodes_to_it(missed: int):
    line, step = Downlink(Identity(), 0, shared=True), {"step": Dense(torch.ones(1, 2))}
    held = {"x": torch.zeros(1, 50), "mask": torch.zeros(1, 80, dtype=torch.bool), "age": torch.ones(1, 1)}
    held["age"] = held["age"].to(torch.int64)
    for r in range(missed + 2):
        found = line.cost(line.say(step, r, "train"), ALL, ALL < 4 if r in {0, missed + 1} else ALL < 2, held)
        if not r:
            first = found
    whole = encoded_nbytes(plain({f"held.{name}": value for name, value in held.items()}))
    assert first.total.tolist() == [whole] * 4
    assert found.total[2] == min((missed + 1) * encoded_nbytes(step), whole)
    assert found.total[0] == encoded_nbytes(step)


def test_what_is_held_as_it_was_said_is_not_sent_twice():
    line = Downlink(TopK(0.1), 0, shared=True)
    said = line.say(values(0), 0, "train")
    held = {"x": said.values["x"], "before": said.values["x"] / 2}
    # x, which is the replica, and the point before.
    assert line.cost(said, ALL, EVERYBODY, held).payload.tolist() == [2 * int(values(0)["x"].nbytes())] * 4
    # Who holds another value under that name needs both.
    held["x"] = held["x"] + 1
    assert (
        line.cost(said, ALL + 4, EVERYBODY, held).payload.tolist() == [3 * int(values(0)["x"].nbytes())] * 4
    )


def test_only_replicas_are_brought_up_to_date():
    line = Downlink(TopK(0.05), 0, shared=False)
    own = {"own": column(torch.arange(4))}
    with_own = [cost(line, values(r) | own, r, ALL < 2 if r else EVERYBODY).payload for r in range(3)]
    line = Downlink(TopK(0.05), 0, shared=False)
    without = [cost(line, values(r), r, ALL < 2 if r else EVERYBODY).payload for r in range(3)]
    assert [(a - b).tolist() for a, b in zip(with_own, without, strict=True)] == [
        own["own"].nbytes().tolist()
    ] * 3


def test_a_checkpoint_holds_replicas_and_who_heard_what():
    line, other = (Downlink(TopK(0.1), 0, shared=False) for _ in range(2))
    for r in range(3):
        cost(line, values(r), r, r + 2 > ALL)
    other.restore(line.state())
    assert cost(other, values(4), 4).payload.tolist() == cost(line, values(4), 4).payload.tolist()
    assert other.replicas["x"].equal(line.replicas["x"])


# ---- real bytes


@dataclass
class Bytes:
    """Adds up what is really encoded."""

    down: int = 0
    up: int = 0


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Bytes:
    """Bytes of the messages that the gates decode, and of the broadcasts: one for each client that was sent it."""
    found = Bytes()
    decode_one, encode = Gates.decode_one, envelope.encode_message

    def counting(gates: Gates, data: bytes, sender: int):
        found.up += len(data)
        return decode_one(gates, data, sender)

    def counting_down(message, row, cover):
        data = encode(message, row, cover)
        found.down += len(data)
        return data

    monkeypatch.setattr(Gates, "decode_one", counting)
    monkeypatch.setattr("fedsparse.engine.downlink.encode_message", counting_down)
    return found


@pytest.mark.parametrize("compressor", [Identity(), TopK(0.1)])
def test_the_ledger_is_the_sum_of_the_bytes_that_were_encoded(encoded: Bytes, compressor):
    strategy = Scaffold(uplink=TopK(0.1))
    result = simulate(strategy, Pulls(size=200), rounds=5, encode=True, downlink=compressor)
    last = result.history[-1]
    assert last.up_bytes == encoded.up
    assert last.down_bytes == 6 * encoded.down


def test_rows_for_each_client_are_encoded_for_each(encoded: Bytes):
    strategy = Pieces(say=lambda server, ctx: {"x": Dense(server["x"][None]), "id": column(ctx.ids)})
    result = simulate(strategy, Pulls(), rounds=2, encode=True)
    x = 2 * 5 * (int(Dense(torch.zeros(1, 4, dtype=torch.float64)).nbytes()) + len(b"\x01x") + 1)
    assert result.history[-1].down_bytes == encoded.down + x


@pytest.mark.parametrize("downlink", [Identity(), TopK(0.1), QSGD()])
@pytest.mark.parametrize("strategy", [FedAvg(uplink=RandK(0.1)), Scaffold(uplink=TopK(0.1))])
def test_encoding_changes_neither_results_nor_records(strategy, downlink):
    faults = Faults(uplink_loss=0.2, downlink_loss=0.2)
    runs = [
        simulate(
            strategy, Pulls(size=50), rounds=6, cohort=4, downlink=downlink, faults=faults, encode=encode
        )
        for encode in (False, True)
    ]
    assert runs[0].x.equal(runs[1].x)
    assert [r.traffic for r in runs[0].history] == [r.traffic for r in runs[1].history]
