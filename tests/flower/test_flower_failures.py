"""Devices that lie, fall, forget; and a server that falls: the round goes on, and what was promised still holds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict

from fedsparse.errors import ConfigError, ResourceError, WorkerError
from fedsparse.flower.letters import Answer, Order, Presence
from fedsparse.message import Dense, Sparse
from fedsparse.runfolder import read_rounds
from fedsparse.wire import Envelope, encode_message
from tests.flower import own_task
from tests.flower.loopback import Loopback, Node
from tests.flower.parity import CLIENTS, assert_same, deployed, ended, simulated

SCAFCOM = ["strategy=scafcom", "uplink.fraction=0.1"]
SIZE = 610
"""Parameters of the small model: 64 * 8 + 8 + 8 * 10 + 10."""

Lie = Callable[[Answer, Envelope], bytes]


def envelope_of(order: Order) -> Envelope:
    return Envelope(order.run, *order.stamp, order.client)


def sparse(values: torch.Tensor) -> Sparse:
    return Sparse.of(torch.arange(values.numel())[None], values[None], SIZE)


LIES: dict[str, tuple[Lie, str]] = {
    "random bytes": (lambda answer, e: np.random.default_rng(0).bytes(200), "decode: magic"),
    "nothing": (lambda answer, e: b"", "decode: envelope"),
    "cut short": (lambda answer, e: answer.message[:-3], "decode: body length"),
    "a flipped bit": (
        lambda answer, e: answer.message[:-1] + bytes([answer.message[-1] ^ 1]),
        "decode: checksum",
    ),
    "another run": (
        lambda answer, e: encode_message({"dc": sparse(torch.ones(61))}, 0, replace(e, run=e.run ^ 1)),
        "decode: run",
    ),
    "an earlier round": (
        lambda answer, e: encode_message({"dc": sparse(torch.ones(61))}, 0, replace(e, round=e.round - 1)),
        "decode: round",
    ),
    "another sender": (
        lambda answer, e: encode_message({"dc": sparse(torch.ones(61))}, 0, replace(e, sender=1)),
        "decode: sender",
    ),
    "NaN": (
        lambda answer, e: encode_message({"dc": sparse(torch.full((61,), torch.nan))}, 0, e),
        "not finite",
    ),
    "another shape": (
        lambda answer, e: encode_message({"dc": Dense(torch.ones(1, SIZE + 1))}, 0, e),
        "decode: dc",
    ),
    "another kind of values": (
        lambda answer, e: encode_message({"dc": replace(sparse(torch.ones(61)), kind="fp16")}, 0, e),
        "decode: kind",
    ),
    "another name": (lambda answer, e: encode_message({"dx": sparse(torch.ones(61))}, 0, e), "decode: kind"),
    "a huge declared size": (
        lambda answer, e: encode_message(
            {"dc": Sparse.of(torch.arange(61)[None], torch.ones(1, 61), (1 << 31) - 1)}, 0, e
        ),
        "decode: dc",
    ),
}


def lying(lie: Lie, from_round: int = 1) -> Callable[[Message, Message], Message]:
    """A device whose answers are replaced by lies from a round on."""

    def replies(asked: Message, reply: Message) -> Message:
        if asked.metadata.message_type != "train":
            return reply
        order, answer = Order.of(asked.content), Answer.of(reply.content)
        if order.stamp.round < from_round:
            return reply
        false = replace(answer, message=lie(answer, envelope_of(order)))
        return Message(false.content(), reply_to=asked)

    return replies


def conserved(checkpoint: dict, clients: dict) -> None:
    """SCAFCOM's law: the server's variate is the mean of the clients', of those that never took part zero."""
    mean = sum(rows["c"].astype(np.float64) for rows in clients.values()) / CLIENTS
    np.testing.assert_allclose(checkpoint["server.c"], mean, atol=1e-8)


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_counted_by_its_reason_and_the_round_goes_on(name: str, tmp_path: Path) -> None:
    lie, reason = LIES[name]

    def prepare(grid: Loopback) -> None:
        grid.nodes[102].replies = lying(lie)

    end, _ = deployed(tmp_path, *SCAFCOM, prepare=prepare)
    first, *others = end.records
    assert first["accepted"] == CLIENTS
    for record in others:
        assert record["accepted"] == CLIENTS - 1
        assert list(record["rejected"].values()) == [1]
        assert next(iter(record["rejected"])).startswith(reason)
    conserved(end.checkpoint, end.clients)


def test_a_liar_in_the_first_round_does_not_say_what_answers_are_like(tmp_path: Path) -> None:
    def prepare(grid: Loopback) -> None:
        grid.nodes[100].replies = lying(LIES["another shape"][0], from_round=0)

    end, _ = deployed(tmp_path, *SCAFCOM, prepare=prepare)
    assert [record["accepted"] for record in end.records] == [CLIENTS - 1] * 3


def test_a_false_report_is_refused_with_its_message(tmp_path: Path) -> None:
    def replies(asked: Message, reply: Message) -> Message:
        if asked.metadata.message_type == "train":
            reply.content["report"]["@made-up"] = 1.0
        return reply

    def prepare(grid: Loopback) -> None:
        grid.nodes[101].replies = replies

    end, _ = deployed(tmp_path, *SCAFCOM, prepare=prepare)
    assert [record["rejected"] for record in end.records] == [{"decode: envelope": 1}] * 3


def test_what_is_no_record_of_ours_is_refused(tmp_path: Path) -> None:
    def replies(asked: Message, reply: Message) -> Message:
        if asked.metadata.message_type != "train":
            return reply
        return Message(RecordDict({"answer": ConfigRecord({"client": "me"})}), reply_to=asked)

    def prepare(grid: Loopback) -> None:
        grid.nodes[101].replies = replies

    end, _ = deployed(tmp_path, *SCAFCOM, prepare=prepare)
    assert [record["rejected"] for record in end.records] == [{"decode: envelope": 1}] * 3


@pytest.mark.slow
def test_a_device_that_falls_in_mid_round_comes_back_with_its_state(tmp_path: Path) -> None:
    grid = Loopback(tmp_path, CLIENTS)
    fallen = grid.nodes[102]

    def falls(asked: Message, reply: Message) -> Message | None:
        if asked.metadata.message_type == "train" and Order.of(asked.content).stamp.round == 1:
            fallen.on = False  # its work is done, and its answer never sent
            return None
        return reply

    def returns(asked: Message, reply: Message) -> Message:
        if asked.metadata.message_type == "train" and Order.of(asked.content).stamp.round == 2:
            grid.nodes.pop(102, None)
            if 902 not in grid.nodes:
                grid.add(902, 2)  # as another node, with the same folder
        return reply

    fallen.replies, grid.nodes[100].replies = falls, returns
    real = ["engine.clock=real", "deadline=5", "rounds=5"]
    end, _ = deployed(tmp_path, *SCAFCOM, *real, grid=grid)
    assert [(record["accepted"], record["late"]) for record in end.records[:2]] == [(4, 0), (3, 1)]
    assert [record["accepted"] for record in end.records[3:]] == [4, 4]
    assert end.checkpoint["client.round"].tolist() == [4] * CLIENTS
    conserved(end.checkpoint, end.clients)


def test_a_device_that_comes_back_within_the_patience_changes_no_bit(tmp_path: Path) -> None:
    grid = Loopback(tmp_path, CLIENTS)

    def falls(asked: Message, reply: Message) -> Message | None:
        if (
            asked.metadata.message_type == "train"
            and Order.of(asked.content).stamp.round == 1
            and 102 in grid.nodes
        ):
            del grid.nodes[102]
            grid.add(902, 2)
            return None
        return reply

    grid.nodes[102].replies = falls
    assert_same(simulated(tmp_path, *SCAFCOM), deployed(tmp_path, *SCAFCOM, grid=grid)[0])


class Flickering(Loopback):
    """A grid whose nodes are back when they were missed once."""

    def get_node_ids(self) -> list[int]:
        found = list(super().get_node_ids())
        for node in self.nodes.values():
            node.on = True
        return found


def test_a_node_that_comes_back_under_its_own_number_is_asked_again(tmp_path: Path) -> None:
    grid = Flickering(tmp_path, CLIENTS)
    falls = iter([True])

    def forgets(asked: Message, reply: Message) -> Message | None:
        if asked.metadata.message_type == "train" and next(falls, False):
            grid.nodes[102].on = False
            return None
        return reply

    grid.nodes[102].replies = forgets
    assert_same(simulated(tmp_path, *SCAFCOM), deployed(tmp_path, *SCAFCOM, grid=grid)[0])


def test_a_device_that_lost_its_state_is_left_out(tmp_path: Path) -> None:
    grid = Loopback(tmp_path, CLIENTS)

    def loses(asked: Message, reply: Message) -> Message:
        if asked.metadata.message_type == "train" and Order.of(asked.content).stamp.round == 0:
            for folder in (tmp_path / "device-1").glob("*-1"):
                rmtree(folder)
        return reply

    grid.nodes[101].replies = loses
    end, _ = deployed(tmp_path, *SCAFCOM, grid=grid)
    assert [record["accepted"] for record in end.records] == [4, 3, 3]


class Falls(BaseException):
    """The server's process ends here."""


class Falling(Loopback):
    """A grid whose server falls while it sends the orders of a round."""

    fall_in = 3

    def push_messages(self, messages: list[Message]) -> list[str]:  # type: ignore[override]
        rounds = [Order.of(m.content).stamp.round for m in messages if m.metadata.message_type == "train"]
        keys = super().push_messages(messages)
        if self.fall_in in rounds:
            for key in list(keys)[:2]:  # two of them work on it, before the others ever hear
                list(self.pull_messages([key]))
            raise Falls
        return list(keys)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["strategy=scafcom"],
        ["strategy=scafcom", "downlink=topk", "cohort=2", "downlink.fraction=0.02"],
        ["strategy=masha", "data=saddle", "cohort=3"],
        ["strategy=tests.flower.own_task:Holding", "cohort=3", "downlink=topk"],
    ],
    ids=["scafcom", "downlink", "masha", "holding"],
)
def test_a_server_that_fell_goes_on_from_its_checkpoint_to_the_same_bits(
    words: list[str], tmp_path: Path
) -> None:
    words = [*words, "rounds=6", "checkpoint_every=2"]
    grid = Falling(tmp_path, CLIENTS)
    grid.fall_in = 3  # the checkpoint is of round 1, so that round 2 is done again
    with pytest.raises(Falls):
        deployed(tmp_path, *words, grid=grid)
    again = Loopback(tmp_path, CLIENTS)
    deployed_again(tmp_path, again)
    assert_same(simulated(tmp_path, *words), ended(tmp_path / "deployed", tmp_path))


def deployed_again(folder: Path, grid: Loopback) -> None:
    from fedsparse.flower.server_app import run_on

    run_on(grid, [f"resume={folder / 'deployed'}", "engine=flower"])


def test_a_device_keeps_no_more_than_three_states(tmp_path: Path) -> None:
    deployed(tmp_path, *SCAFCOM, "rounds=8", "checkpoint_every=3")
    for client in range(CLIENTS):
        found = sorted(p.name[:5] for p in (tmp_path / f"device-{client}").glob("*/*.ckpt"))
        assert found.count("state") <= 3
        assert found.count("heard") <= 3


def test_nodes_that_cannot_be_clients_are_left_out(tmp_path: Path) -> None:
    grid = Loopback(tmp_path, CLIENTS)
    grid.add(950, 7)  # there are clients 0 to 3
    grid.add(951, 0).replies = lambda asked, reply: Message(Presence(0, 1 << 50).content(), reply_to=asked)
    grid.add(952, 1)  # the second one that says so
    assert_same(simulated(tmp_path, *SCAFCOM), deployed(tmp_path, *SCAFCOM, grid=grid)[0])


def test_too_few_devices_are_told(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"3 of 4 devices came within engine\.wait=0\.2 s"):
        deployed(tmp_path, *SCAFCOM, "engine.wait=0.2", grid=Loopback(tmp_path, CLIENTS - 1))


def test_a_run_may_begin_with_fewer(tmp_path: Path) -> None:
    few = ["engine.wait=0.2", "engine.least=3", "engine.patience=0.2"]
    end, _ = deployed(tmp_path, *SCAFCOM, *few, grid=Loopback(tmp_path, CLIENTS - 1))
    assert [(record["accepted"], record["late"]) for record in end.records] == [(3, 1)] * 3
    conserved(end.checkpoint, end.clients)


def test_a_failure_of_all_devices_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    def fails(node: Node) -> None:
        node.context.node_config["state-dir"] = "/proc/nowhere"

    def prepare(grid: Loopback) -> None:
        for node in grid.nodes.values():
            node.replies = lambda asked, reply, node=node: (fails(node), reply)[1]

    with pytest.raises(WorkerError, match=r"all 4 devices failed in round 0; client 0: .*"):
        deployed(tmp_path, *SCAFCOM, prepare=prepare)


def test_on_a_real_clock_the_first_answers_count_and_time_passes(tmp_path: Path) -> None:
    grid = Loopback(tmp_path, CLIENTS)
    grid.nodes[100].replies = lambda asked, reply: reply if asked.metadata.message_type == "query" else None
    real = ["engine.clock=real", "cohort=3", "over_select=0.34"]
    end, _ = deployed(tmp_path, *SCAFCOM, *real, grid=grid)
    assert [record["accepted"] for record in end.records] == [3, 3, 3]
    assert 0 < end.records[0]["virtual_s"] < end.records[2]["virtual_s"] < 10


def test_the_record_has_payload_bytes_and_those_of_flower_side_by_side(tmp_path: Path) -> None:
    deployed(tmp_path, *SCAFCOM)
    last = read_rounds(tmp_path / "deployed")[-1]
    assert last["flower"]["up_flower_messages"] == last["traffic"]["up_messages"] == CLIENTS
    assert last["flower"]["up_flower_bytes"] > last["traffic"]["up_payload_bytes"] > 0
    assert last["flower"]["down_flower_bytes"] > last["traffic"]["down_payload_bytes"] > 0


def test_a_cohort_for_which_too_few_devices_have_examples_leaves_no_run_folder(tmp_path: Path) -> None:
    """Who has examples of its own is known once the devices have said it."""
    own_task.write(tmp_path / "data", CLIENTS)
    grid = Loopback(tmp_path, 0)
    for client in range(CLIENTS):
        grid.add(100 + client, client, **{"data-dir": str(tmp_path / "data" / f"device-{client}")})
    grid.nodes[100].replies = lambda asked, _: Message(Presence(0, 0).content(), reply_to=asked)
    words = ["strategy=fedavg", f"data={own_task.__name__}:load", "model=linear", "sampler=weighted"]
    words += ["partition=own", f"data_dir={tmp_path / 'data' / 'all'}"]
    with pytest.raises(ConfigError, match=r"cohort=4: with sampler=weighted .* only 3 of clients=4"):
        deployed(tmp_path, *words, grid=grid)
    assert not (tmp_path / "deployed").exists()
