"""Gossiping devices that lie, fall or slander, and a server that falls: the others go on, and nothing is lost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict

from fedsparse.errors import ConfigError, Diverged
from fedsparse.flower.letters import Answer, Order
from fedsparse.flower.parcels import Receipt
from fedsparse.flower.server_app import run_on
from fedsparse.message import Dense, Sparse
from fedsparse.wire import Envelope, encode_message
from tests.flower.loopback import Loopback
from tests.flower.parity import CLIENTS, Ended, assert_same, deployed, ended, simulated
from tests.flower.test_flower_gossip import CHOCO, PUSH_SUM, TRACKING

SIZE = 610
"""Parameters of the small model: 64 * 8 + 8 + 8 * 10 + 10."""

Lie = Callable[[Answer, Envelope], bytes]


def sparse(value: float, kept: int = 61) -> Sparse:
    return Sparse.of(torch.arange(kept)[None], torch.full((1, kept), value), SIZE)


def with_broken_payload(answer: Answer, envelope: Envelope) -> bytes:
    """A right envelope and checksum around a payload of an unknown class."""
    from fedsparse.wire import envelope as wire

    return wire.seal(envelope, b"\x01q\x03\xff\xff\xff")


SEEN_BY_THE_SERVER: dict[str, tuple[Lie, str]] = {
    "random bytes": (lambda answer, e: bytes(range(200)), "decode: magic"),
    "nothing": (lambda answer, e: b"", "decode: envelope"),
    "another run": (lambda a, e: encode_message({"q": sparse(1.0)}, 0, replace(e, run=e.run ^ 1)), "decode: run"),
    "replayed": (lambda a, e: encode_message({"q": sparse(1.0)}, 0, replace(e, round=0)), "decode: round"),
    "another sender": (lambda a, e: encode_message({"q": sparse(1.0)}, 0, replace(e, sender=1)), "decode: sender"),
    "another name": (lambda a, e: encode_message({"x": sparse(1.0)}, 0, e), "decode: kind"),
}  # fmt: skip
"""What an envelope shows."""

SEEN_BY_NEIGHBOURS: dict[str, tuple[Lie, str]] = {
    "NaN": (lambda a, e: encode_message({"q": sparse(float("nan"))}, 0, e), "not finite"),
    "another kind": (lambda a, e: encode_message({"q": Dense(torch.ones(1, SIZE))}, 0, e), "decode: kind"),
    "a payload of no class": (with_broken_payload, "decode: q"),
}
"""What only those see who open it."""


def lying(lie: Lie) -> Callable[[Message, Message], Message]:
    """A device whose messages are replaced by lies from the second round on."""

    def replies(asked: Message, reply: Message) -> Message:
        if asked.metadata.message_type != "train":
            return reply
        order = Order.of(asked.content)
        if order.work != "train" or order.stamp.round == 0:
            return reply
        answer = Answer.of(reply.content)
        envelope = Envelope(order.run, order.stamp.round, order.stamp.number // 2, order.client)
        return Message(replace(answer, message=lie(answer, envelope)).content(), reply_to=asked)

    return replies


def receipts(
    change: Callable[[Order, Receipt], RecordDict | None],
) -> Callable[[Message, Message], Message | None]:
    """A device whose receipts are replaced from the second round on; None: it does not answer."""

    def replies(asked: Message, reply: Message) -> Message | None:
        if asked.metadata.message_type != "train":
            return reply
        order = Order.of(asked.content)
        if order.work != "mix" or order.stamp.round == 0:
            return reply
        content = change(order, Receipt.of(reply.content))
        return None if content is None else Message(content, reply_to=asked)

    return replies


def ran(folder: Path, node: int, replies: Callable[[Message, Message], Message | None], *words: str) -> Ended:
    def prepare(grid: Loopback) -> None:
        grid.nodes[node].replies = replies

    return deployed(folder, *words, "engine.patience=0.5", prepare=prepare)[0]


@pytest.mark.parametrize("name", [*SEEN_BY_THE_SERVER, *SEEN_BY_NEIGHBOURS])
def test_a_lie_is_counted_by_its_reason_and_the_others_go_on(name: str, tmp_path: Path) -> None:
    lie, reason = (SEEN_BY_THE_SERVER | SEEN_BY_NEIGHBOURS)[name]
    end = ran(tmp_path, 102, lying(lie), *CHOCO)
    first, *others = end.records
    assert first["accepted"] == CLIENTS
    for record in others:
        assert record["accepted"] == CLIENTS - 1
        assert list(record["rejected"].values()) == [1]
        assert next(iter(record["rejected"])).startswith(reason)


def test_what_is_not_finite_on_all_devices_ends_the_run_as_in_a_simulation(tmp_path: Path) -> None:
    words = [*CHOCO, "strategy.lr=1e38"]
    with pytest.raises(Diverged, match="all 4 messages of round"):
        simulated(tmp_path, *words)
    with pytest.raises(Diverged, match="all 4 messages of round"):
        deployed(tmp_path, *words)


def test_who_refuses_good_messages_loses_no_more_than_its_own_links(tmp_path: Path) -> None:
    def slander(order: Order, receipt: Receipt) -> RecordDict:
        assert order.parcel is not None
        if not order.parcel.senders:
            return receipt.content()
        return Receipt(order.client, dict.fromkeys(order.parcel.senders, "not finite")).content()

    end = ran(tmp_path, 102, receipts(slander), *PUSH_SUM, "topology=ring", "mixing=push_sum")
    assert [(r["accepted"], r["rejected"]) for r in end.records] == [(CLIENTS, {})] * 3
    assert mass(end) == pytest.approx(CLIENTS, abs=1e-6)


@pytest.mark.parametrize(
    "content",
    [
        RecordDict({"receipt": ConfigRecord({"client": "me"})}),
        Receipt(1, {}).content(),
        Receipt(2, {77: "not finite"}).content(),
    ],
    ids=["no receipt", "another client's", "of a message that it never got"],
)
def test_a_false_receipt_leaves_its_device_out(content: RecordDict, tmp_path: Path) -> None:
    end = ran(tmp_path, 102, receipts(lambda order, receipt: content), *CHOCO)
    found = [(r["accepted"], r["rejected"]) for r in end.records]
    assert found == [(CLIENTS, {})] + [(CLIENTS - 1, {"decode: receipt": 1})] * 2


def mass(end: Ended) -> float:
    """Push-sum's law: the weights of all clients have the sum that they began with, their number."""
    return float(sum(rows["w"].sum() for rows in end.clients.values()))


def silent_in(number: int) -> Callable[[Message, Message], Message | None]:
    """It trains and mixes in that round, and what it has to say about the latter never comes."""
    return receipts(lambda order, receipt: None if order.stamp.round == number else receipt.content())


def test_a_device_that_falls_between_training_and_mixing_was_never_in_the_round(tmp_path: Path) -> None:
    """A fifth client's weight goes nowhere: the sum is what it was, and its own state that of the round before."""
    end = ran(tmp_path, 102, silent_in(2), *PUSH_SUM)
    assert [(r["accepted"], r["late"]) for r in end.records] == [(4, 0), (4, 0), (3, 1)]
    assert mass(end) == pytest.approx(CLIENTS, abs=1e-6)
    at = end.checkpoint["clients"].tolist().index(2)
    assert end.checkpoint["client.round"].tolist()[at] == 1


def test_who_falls_in_one_exchange_is_away_for_the_rest_of_the_round(tmp_path: Path) -> None:
    end = ran(tmp_path, 102, silent_in(1), "strategy=dfedsam", "topology=ring", "strategy.mixings=3")
    assert [(r["accepted"], r["late"]) for r in end.records] == [(4, 0), (3, 1), (4, 0)]


def test_what_neighbours_sent_to_a_fallen_device_comes_later(tmp_path: Path) -> None:
    """CHOCO's law: the sum of all gaps is zero, whoever was away."""
    end = ran(tmp_path, 102, silent_in(1), *CHOCO)
    assert [(r["accepted"], r["late"]) for r in end.records] == [(4, 0), (3, 1), (4, 0)]
    gaps = sum(torch.from_numpy(rows["gap"]).double() for rows in end.clients.values())
    assert isinstance(gaps, torch.Tensor)
    torch.testing.assert_close(gaps, torch.zeros_like(gaps), atol=1e-6, rtol=0)


def test_a_device_that_comes_back_within_the_patience_changes_no_bit(tmp_path: Path) -> None:
    grid = Loopback(tmp_path, CLIENTS)

    def falls(asked: Message, reply: Message) -> Message | None:
        if asked.metadata.message_type == "train" and 102 in grid.nodes:
            order = Order.of(asked.content)
            if order.work == "mix" and order.stamp.round == 1:
                del grid.nodes[102]
                grid.add(902, 2)
                return None
        return reply

    grid.nodes[102].replies = falls
    assert_same(simulated(tmp_path, *CHOCO), deployed(tmp_path, *CHOCO, grid=grid)[0])


class Falls(BaseException):
    """The server's process ends here."""


class Falling(Loopback):
    """A grid whose server falls in round 3, when two devices have done what they were asked."""

    work = "train"

    def push_messages(self, messages: list[Message]) -> list[str]:  # type: ignore[override]
        orders = [Order.of(m.content) for m in messages if m.metadata.message_type == "train"]
        keys = list(super().push_messages(messages))
        if any(order.stamp.round == 3 and order.work == self.work for order in orders):
            for key in keys[:2]:
                list(self.pull_messages([key]))
            raise Falls
        return keys


@pytest.mark.parametrize("work", ["train", "mix"])
@pytest.mark.parametrize("words", [CHOCO, TRACKING], ids=["choco", "tracking"])
def test_a_server_that_fell_goes_on_from_its_checkpoint_to_the_same_bits(
    words: list[str], work: str, tmp_path: Path
) -> None:
    """Also what was still owed along links, as the checkpoint is of round 1."""
    words = [*words, "rounds=6", "checkpoint_every=2", "faults.link_loss=0.3"]
    grid = Falling(tmp_path, CLIENTS)
    grid.work = work
    with pytest.raises(Falls):
        deployed(tmp_path, *words, grid=grid)
    run_on(Loopback(tmp_path, CLIENTS), [f"resume={tmp_path / 'deployed'}", "engine=flower"])
    assert_same(simulated(tmp_path, *words), ended(tmp_path / "deployed", tmp_path))


def test_a_device_keeps_no_more_than_four_states(tmp_path: Path) -> None:
    """What counts, what counted at the checkpoint, and of the exchange that goes on both halves."""
    deployed(tmp_path, *CHOCO, "rounds=8", "checkpoint_every=3")
    for client in range(CLIENTS):
        found = [path.name[:5] for path in (tmp_path / f"device-{client}").glob("*/*.ckpt")]
        assert found.count("state") <= 4
        assert found.count("sent-") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["strategy=allreduce", "topology=ring"], "in round 1 everybody is to hear everybody"),
        (["strategy=single_merging", "topology=ring"], "in round 3 everybody is to hear everybody"),
        (["strategy=dpsgd", "topology=ring", "engine.clock=real"], "use engine.clock=virtual"),
    ],
)
def test_what_devices_cannot_do_is_refused_before_anybody_is_asked(
    words: list[str], said: str, tmp_path: Path
) -> None:
    grid = Loopback(tmp_path, CLIENTS)
    with pytest.raises(ConfigError, match=said):
        deployed(tmp_path, *words, grid=grid)
    assert [node.seen for node in grid.nodes.values()] == [[]] * CLIENTS
