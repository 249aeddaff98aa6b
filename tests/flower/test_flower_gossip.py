"""Without a server's model: devices hear their neighbours through a server that opens nothing, to the same bits."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message

from fedsparse.gossip import Gossip
from fedsparse.registry import strategies
from fedsparse.report import main as report
from fedsparse.runfolder import read_rounds
from fedsparse.wire import envelope
from fedsparse.wire.reader import Reader
from tests.flower.loopback import Loopback
from tests.flower.parity import assert_same, deployed, simulated

GOSSIP = [name for name in strategies.names() if issubclass(strategies.get(name), Gossip)]
QUICK = {"choco", "dpsgd", "gradient_tracking", "push_sum", "beer", "single_merging", "allreduce", "dfedsam"}
"""One of each kind: sparse, dense, two messages, weights that travel, several exchanges, meetings, silence."""

CHOCO = ("strategy=choco", "topology=ring", "uplink=topk", "uplink.fraction=0.1")


@pytest.mark.parametrize(
    "strategy", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in GOSSIP]
)
def test_every_strategy_of_gossip_has_the_bits_of_its_simulation(strategy: str, tmp_path: Path) -> None:
    words = (f"strategy={strategy}", "topology=ring")
    assert_same(simulated(tmp_path, *words), deployed(tmp_path, *words)[0])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["choco", "gradient_tracking", "push_sum"])
@pytest.mark.parametrize(
    "circumstances",
    [
        ["faults.link_loss=0.3", "rounds=6"],
        ["faults.dropout=0.3", "rounds=6"],
        ["topology=complete", "network=lognormal"],
        ["init=independent"],
        ["model=resnet", "model.width=2", "model.norm=batch", "rounds=2"],
    ],
    ids=["lost-messages", "absent-clients", "everybody-hears-everybody", "independent-starts", "statistics"],
)
def test_bad_lines_and_starts_make_no_difference(
    strategy: str, circumstances: list[str], tmp_path: Path
) -> None:
    words = (f"strategy={strategy}", "topology=ring", *circumstances)
    assert_same(simulated(tmp_path, *words), deployed(tmp_path, *words)[0])


def test_the_server_opens_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before models are shown, all payloads are decoded while a device has the word."""
    inside, opened = [False], []
    pull, decode = Loopback.pull_messages, envelope.decode_rows

    def at_devices(grid: Loopback, keys: Iterable[str]) -> Iterable[Message]:
        inside[0] = True
        try:
            return pull(grid, keys)
        finally:
            inside[0] = False

    def watched(readers: Sequence[Reader]) -> list[Any]:
        opened.append(inside[0])
        return decode(readers)

    monkeypatch.setattr(Loopback, "pull_messages", at_devices)
    monkeypatch.setattr(envelope, "decode_rows", watched)
    before_models: list[bool] = []

    class Evaluating(Loopback):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            some = list(messages)
            if any(m.metadata.message_type == "evaluate" for m in some) and not before_models:
                before_models.extend(opened)
            return super().push_messages(some)

    deployed(tmp_path, *CHOCO, grid=Evaluating(tmp_path, 4))
    assert len(before_models) > 8
    assert all(before_models)


def test_one_table_has_gossip_on_devices_beside_a_simulation(tmp_path: Path) -> None:
    """Their folders have the same files, so that whatever reads one reads the other."""
    simulated(tmp_path, "strategy=dpsgd", "topology=ring")
    deployed(tmp_path, *CHOCO)
    names = {path.name for path in (tmp_path / "simulated").iterdir()}
    assert {path.name for path in (tmp_path / "deployed").iterdir()} == names
    runs = [str(tmp_path / name) for name in ("simulated", "deployed")]
    assert report([*runs, "--out", str(tmp_path / "report"), "--formats", "md"]) == 0
    said = (tmp_path / "report" / "report.md").read_text()
    assert all(f"| {name} |" in said for name in ("dpsgd", "choco"))


def test_what_is_lost_on_a_link_is_not_passed_on(tmp_path: Path) -> None:
    """Every message that arrives is passed on once, over a run with its last evaluation."""
    deployed(tmp_path, "strategy=dpsgd", "topology=ring", "faults.link_loss=0.4", "rounds=4")
    records = read_rounds(tmp_path / "deployed")
    total = records[-1]["traffic_total"]
    assert total["up_lost"] > 0
    each = (total["up_payload_bytes"] + total["up_header_bytes"]) // total["up_messages"]
    passed = sum(record["flower"].get("down_relayed_bytes", 0) for record in records)
    assert passed == each * (total["up_messages"] - total["up_lost"])
