"""Devices that gossip, and lie, fall or forget; and a server that falls."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Message

from fedsparse.engine.faults import Faults
from fedsparse.flower.letters import Answer, Order
from fedsparse.message import Dense, Sparse
from fedsparse.runfolder import read_rounds
from fedsparse.wire import encode_message
from tests.flower.loopback import Loopback
from tests.flower.parity import CLIENTS, assert_same, deployed, ended, simulated
from tests.flower.test_flower_failures import (
    LIES,
    SIZE,
    Falling,
    Falls,
    Lie,
    deployed_again,
    lying,
    sparse,
)

CHOCO = ["strategy=choco", "topology=ring", "uplink=topk", "uplink.fraction=0.1"]
COMPLETE = ["strategy=choco", "topology=complete", "uplink=topk", "uplink.fraction=0.1"]

OUTSIDE = (
    "random bytes",
    "cut short",
    "a flipped bit",
    "another run",
    "an earlier round",
    "another sender",
)
"""Lies that are seen without opening a message."""

INSIDE: dict[str, tuple[Lie, str]] = {
    "NaN": (
        lambda answer, e: encode_message({"q": sparse(torch.full((61,), torch.nan))}, 0, e),
        "not finite",
    ),
    "another shape": (
        lambda answer, e: encode_message({"q": Dense(torch.ones(1, SIZE))}, 0, e),
        "decode: kind",
    ),
    "another kind of values": (
        lambda answer, e: encode_message({"q": replace(sparse(torch.ones(61)), kind="fp16")}, 0, e),
        "decode: kind",
    ),
    "a huge declared size": (
        lambda answer, e: encode_message(
            {"q": Sparse.of(torch.arange(61)[None], torch.ones(1, 61), (1 << 31) - 1)}, 0, e
        ),
        "decode: q",
    ),
}
"""Lies that only those see who get the message."""


def told(lie: Lie, tmp_path: Path, *words: str) -> list[dict]:
    """Records of a run in which client 2 lies from round 1 on."""

    def prepare(grid: Loopback) -> None:
        grid.nodes[102].replies = lying(lie)

    return deployed(tmp_path, *words, prepare=prepare)[0].records


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_is_wrong_outside_is_refused_by_the_server(name: str, tmp_path: Path) -> None:
    lie, reason = LIES[name]
    first, *others = told(lie, tmp_path, *CHOCO)
    assert first["accepted"] == CLIENTS
    for record in others:
        assert record["accepted"] == CLIENTS - 1
        assert record["rejected"] == {reason: 1}


@pytest.mark.parametrize("name", INSIDE)
def test_what_is_wrong_inside_is_refused_by_the_neighbours_and_told_with_their_next_answers(
    name: str, tmp_path: Path
) -> None:
    lie, reason = INSIDE[name]
    records = told(lie, tmp_path, *CHOCO, "rounds=4")
    assert [record["rejected"] for record in records] == [{}, {}, {reason: 1}, {reason: 1}]
    assert np.isfinite(records[-1]["metrics"]["loss"])


def test_a_device_that_slanders_somebody_whom_it_does_not_hear_is_not_believed(tmp_path: Path) -> None:
    def replies(asked: Message, reply: Message) -> Message:
        if asked.metadata.message_type != "train":
            return reply
        answer = Answer.of(reply.content)  # on a ring of four, 0 does not hear 2
        return Message(replace(answer, refused={2: "not finite", 99: "x"}).content(), reply_to=asked)

    def prepare(grid: Loopback) -> None:
        grid.nodes[100].replies = replies

    end, _ = deployed(tmp_path, *CHOCO, prepare=prepare)
    assert [record["rejected"] for record in end.records] == [{}] * 3
    assert_same(simulated(tmp_path, *CHOCO), end)


def test_a_false_model_is_counted_and_left_out(tmp_path: Path) -> None:
    def shows(asked: Message, reply: Message) -> Message:
        if asked.metadata.message_type != "evaluate":
            return reply
        return Message(replace(Answer.of(reply.content), message=b"a model").content(), reply_to=asked)

    def prepare(grid: Loopback) -> None:
        grid.nodes[101].replies = shows

    deployed(tmp_path, *CHOCO, prepare=prepare)
    assert read_rounds(tmp_path / "deployed")[-1]["flower"]["refused_models"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["choco", "gradient_tracking", "push_sum"])
def test_a_device_that_does_not_answer_is_what_an_absent_client_is_in_a_simulation(
    strategy: str, tmp_path: Path
) -> None:
    words = [f"strategy={strategy}", "topology=ring", "rounds=6", "eval_every=6"]
    one = simulated(tmp_path, *words, "faults.dropout=0.3")
    absences = Faults(dropout=0.3)
    away = {r: set(np.flatnonzero(absences.absent(0, r, np.arange(CLIENTS))).tolist()) for r in range(6)}
    assert sum(map(len, away.values())) > 3

    def silent(client: int) -> Callable[[Message, Message], Message | None]:
        def replies(asked: Message, reply: Message) -> Message | None:
            trains = asked.metadata.message_type == "train"
            return None if trains and client in away[Order.of(asked.content).stamp.round] else reply

        return replies

    def prepare(grid: Loopback) -> None:
        for client in range(CLIENTS):
            grid.nodes[100 + client].replies = silent(client)

    other, _ = deployed(tmp_path, *words, "engine.patience=0.3", prepare=prepare)
    assert [record["late"] for record in other.records] == [len(away[r]) for r in range(6)]
    alike = [{**record, "late": 0, "absent": record["late"]} for record in other.records]
    assert_same(one, replace(other, records=alike))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["choco", "gradient_tracking", "beer"])
def test_a_server_that_fell_goes_on_from_its_checkpoint_to_the_same_bits(
    strategy: str, tmp_path: Path
) -> None:
    words = [f"strategy={strategy}", "topology=ring", "rounds=6", "checkpoint_every=2"]
    grid = Falling(tmp_path, CLIENTS)
    grid.fall_in = 3
    with pytest.raises(Falls):
        deployed(tmp_path, *words, grid=grid)
    deployed_again(tmp_path, Loopback(tmp_path, CLIENTS))
    assert_same(simulated(tmp_path, *words), ended(tmp_path / "deployed", tmp_path))


def test_both_ways_of_a_message_are_counted(tmp_path: Path) -> None:
    deployed(tmp_path, *COMPLETE)
    flower = [record["flower"] for record in read_rounds(tmp_path / "deployed")]
    traffic = [record["traffic"] for record in read_rounds(tmp_path / "deployed")]
    for record, counted in zip(flower, traffic, strict=True):
        # Along each of three links in the account of the method; to the SuperLink only once.
        assert 3 * record["up_relayed_bytes"] == counted["up_payload_bytes"] + counted["up_header_bytes"]
    assert flower[0].get("down_relayed_bytes", 0) == 0  # what was said goes out with the next order
    assert flower[1]["down_relayed_bytes"] == 3 * flower[0]["up_relayed_bytes"]
    # After the last round come the models, and with the orders for them what was said last.
    assert flower[2]["down_relayed_bytes"] == 3 * (
        flower[1]["up_relayed_bytes"] + flower[2]["up_relayed_bytes"]
    )


def test_a_device_keeps_no_more_than_three_states_and_messages(tmp_path: Path) -> None:
    deployed(tmp_path, *CHOCO, "rounds=8", "checkpoint_every=3")
    for client in range(CLIENTS):
        found = [p.name.partition("-")[0] for p in (tmp_path / f"device-{client}").glob("*/*.ckpt")]
        assert 1 <= found.count("state") <= 3
        assert 1 <= found.count("said") <= 3
