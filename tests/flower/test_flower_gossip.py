"""Gossip on devices: messages go through the server unread, and a run has the bits of its simulation."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message

from fedsparse.errors import DecodeError
from fedsparse.flower.parcels import Parcel, Receipt, Ridden
from fedsparse.gossip import Gossip
from fedsparse.registry import strategies
from fedsparse.report import main as report
from fedsparse.runfolder import read_rounds
from fedsparse.wire import envelope
from fedsparse.wire.reader import Reader
from tests.flower.loopback import Loopback
from tests.flower.parity import assert_same, deployed, simulated

NEEDS = {
    "push_sum": ["topology=exponential", "mixing=push_sum"],
    "epidemic_learning": ["topology=epidemic"],
    "gossip_learning": ["topology=epidemic"],
    "single_merging": ["topology=ring", "strategy.merge=never"],
}
GOSSIP = [n for n in strategies.names() if issubclass(strategies.get(n), Gossip) and n != "allreduce"]
QUICK = {"dpsgd", "choco", "gradient_tracking", "push_sum", "dfedsam"}
"""Of each delivery one, of several exchanges one."""

CHOCO = ["strategy=choco", "topology=ring", "uplink.fraction=0.1"]
TRACKING = ["strategy=gradient_tracking", "topology=ring"]
PUSH_SUM = ["strategy=push_sum", "topology=exponential", "mixing=push_sum"]


def words_for(strategy: str) -> list[str]:
    return [f"strategy={strategy}", *NEEDS.get(strategy, ["topology=ring"])]


@pytest.mark.parametrize(
    "strategy", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in GOSSIP]
)
def test_every_strategy_of_gossip_has_the_bits_of_its_simulation(strategy: str, tmp_path: Path) -> None:
    words = words_for(strategy)
    assert_same(simulated(tmp_path, *words), deployed(tmp_path, *words)[0])


@pytest.mark.parametrize("words", [CHOCO, TRACKING, PUSH_SUM], ids=["choco", "tracking", "push_sum"])
def test_lost_messages_and_absent_clients_make_no_difference(words: list[str], tmp_path: Path) -> None:
    """Of CHOCO, messages that were lost ride along with later ones."""
    words = [*words, "faults.link_loss=0.3", "faults.dropout=0.2", "rounds=6"]
    assert_same(simulated(tmp_path, *words), deployed(tmp_path, *words)[0])


@pytest.mark.parametrize(
    "more",
    [
        ["init=independent", "judged=2", "eval_every=1"],
        ["network=lognormal"],
        ["model=resnet", "model.width=2", "model.norm=batch", "rounds=2"],
    ],
    ids=["own starts", "times", "statistics"],
)
def test_circumstances_make_no_difference(more: list[str], tmp_path: Path) -> None:
    words = ["strategy=dpsgd", "topology=ring", *more]
    assert_same(simulated(tmp_path, *words), deployed(tmp_path, *words)[0])


def test_both_hops_are_counted_beside_the_ledger(tmp_path: Path) -> None:
    """On a ring each message goes to the server once, as by radio, and from there along two links."""
    deployed(tmp_path, *CHOCO)
    for record in read_rounds(tmp_path / "deployed"):
        traffic, flower = record["traffic"], record["flower"]
        for part in ("payload_bytes", "header_bytes", "messages"):
            assert flower[f"up_relay_{part}"] == traffic[f"radio_{part}"]
            assert flower[f"down_relay_{part}"] == traffic[f"up_{part}"] == 2 * traffic[f"radio_{part}"]
        assert flower["up_flower_bytes"] > flower["up_relay_payload_bytes"] > 0
        assert flower["down_flower_bytes"] > flower["down_relay_payload_bytes"]


def test_one_table_has_gossip_on_devices_beside_a_simulation(tmp_path: Path) -> None:
    simulated(tmp_path, "strategy=dpsgd", "topology=ring")
    deployed(tmp_path, *CHOCO)
    names = {path.name for path in (tmp_path / "simulated").iterdir()}
    assert {path.name for path in (tmp_path / "deployed").iterdir()} == names
    runs = [str(tmp_path / name) for name in ("simulated", "deployed")]
    assert report([*runs, "--out", str(tmp_path / "report"), "--formats", "md"]) == 0
    said = (tmp_path / "report" / "report.md").read_text()
    assert all(f"| {name} |" in said for name in ("dpsgd", "choco"))


def test_what_is_lost_on_a_link_is_not_passed_on(tmp_path: Path) -> None:
    deployed(tmp_path, "strategy=dpsgd", "topology=ring", "faults.link_loss=0.4", "rounds=4")
    records = read_rounds(tmp_path / "deployed")
    assert sum(record["traffic"]["up_lost"] for record in records) > 0
    for record in records:
        arrived = record["traffic"]["up_messages"] - record["traffic"]["up_lost"]
        assert record["flower"]["down_relay_messages"] == arrived


def test_the_server_opens_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a decoder that fails in the server's part of this process, a run is what it was."""
    inside: list[bool] = []
    pull = Loopback.pull_messages

    def at_devices(self: Loopback, keys: Iterable[str]) -> Iterable[Message]:
        inside.append(True)
        try:
            return list(pull(self, keys))
        finally:
            inside.pop()

    real = envelope.decode_rows

    def watched(readers: Sequence[Reader]) -> list[Any]:
        assert inside, "the server decodes a payload"
        return real(readers)

    monkeypatch.setattr(Loopback, "pull_messages", at_devices)
    monkeypatch.setattr(envelope, "decode_rows", watched)
    deployed(tmp_path, *CHOCO, "eval_every=100", "rounds=2")


def test_parcels_and_receipts_come_back_as_they_were_sent() -> None:
    ride = Ridden("q", 3, 0.25, b"late")
    parcel = Parcel(
        (0, 2), (b"a", b"b"), (0.5, 0.25), {"kept": 0.1}, {"kept": (0.5, 0.25)}, 0.75, (ride,), (ride,)
    )
    assert Parcel.of(parcel.record()) == parcel
    receipt = Receipt(1, {2: "not finite"}, 3)
    assert Receipt.of(receipt.content()) == receipt


def test_a_parcel_whose_lists_do_not_fit_is_refused() -> None:
    parcel = Parcel((0, 2), (b"a",), (0.5, 0.25), {}, {}, 1.0)
    with pytest.raises(DecodeError, match="parcel"):
        Parcel.of(parcel.record())
