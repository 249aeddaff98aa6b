"""On devices a run has the bits of its simulation."""

from pathlib import Path

import pytest

from fedsparse.flower.letters import Order
from fedsparse.gossip import Gossip
from fedsparse.registry import strategies
from fedsparse.wire import Limits, decode_message
from tests.flower import own_task
from tests.flower.loopback import Loopback
from tests.flower.parity import CLIENTS, Ended, assert_same, deployed, simulated

LIMITS = Limits(max_size=1 << 20, max_bytes=1 << 24)
SADDLE = ("masha", "extragradient", "ef_extragradient")
OWN = "tests.flower.own_task"


def words_for(strategy: str) -> list[str]:
    data = ["data=saddle"] if strategy in SADDLE else ["data=quadratic"] if strategy == "ec_ideal" else []
    return [f"strategy={strategy}", *data]


SERVER = [name for name in strategies.names() if not issubclass(strategies.get(name), Gossip)]

QUICK = {"fedavg", "scafcom", "econtrol", "marina", "masha", "ef21_bc", "masked_fedavg", "extragradient"}
"""One of each kind: several exchanges, everybody's, held in common, compressed both ways, masks."""


@pytest.mark.parametrize(
    "strategy",
    [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in SERVER],
)
def test_every_strategy_has_the_bits_of_its_simulation(strategy: str, tmp_path: Path) -> None:
    words = words_for(strategy)
    assert_same(simulated(tmp_path, *words), deployed(tmp_path, *words)[0])


@pytest.mark.parametrize(
    "strategy",
    [
        "scafcom",
        "masha",
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("fedavg", "marina", "extragradient")),
    ],
)
@pytest.mark.parametrize(
    "circumstances",
    [
        ["downlink=topk", "downlink.fraction=0.1", "cohort=2", "rounds=5"],
        ["faults.uplink_loss=0.3", "faults.downlink_loss=0.3", "faults.dropout=0.2", "cohort=3", "rounds=5"],
        ["network=lognormal", "deadline=0.1", "over_select=0.5", "cohort=2", "downlink=qsgd"],
    ],
    ids=["compressed-downlink", "lost-messages", "late-messages"],
)
def test_parts_of_the_clients_and_bad_lines_make_no_difference(
    strategy: str, circumstances: list[str], tmp_path: Path
) -> None:
    words = [*words_for(strategy), *circumstances]
    assert_same(simulated(tmp_path, *words), deployed(tmp_path, *words)[0])


@pytest.mark.parametrize("strategy", ["Holding", "Recalling"])
@pytest.mark.parametrize("extra", [[], ["cohort=2", "rounds=5"], ["downlink=topk", "cohort=3"]])
def test_what_each_client_holds_and_was_told_by_itself_is_kept(
    strategy: str, extra: list[str], tmp_path: Path
) -> None:
    words = [f"strategy={OWN}:{strategy}", *extra]
    assert_same(simulated(tmp_path, *words), deployed(tmp_path, *words)[0])


def test_statistics_of_batch_normalisation_travel(tmp_path: Path) -> None:
    words = ["strategy=fedavg", "model=resnet", "model.width=2", "model.norm=batch", "rounds=2"]
    words += ["calibration=100"]  # by the server, which has the examples in a trial
    assert_same(simulated(tmp_path, *words), deployed(tmp_path, *words)[0])


ADAPTERS = ["model=lora", "model.base=mlp", "model.targets=linear", "model.rank=1", "cohort=2", "rounds=4"]


@pytest.mark.parametrize("strategy", ["fedex_lora", pytest.param("flora", marks=pytest.mark.slow)])
def test_what_is_merged_into_frozen_weights_is_the_same_on_all_devices(strategy: str, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="the extra 'lora' is not installed")
    words = [f"strategy={strategy}", *ADAPTERS]
    end, grid = deployed(tmp_path, *words)
    assert end.checkpoint["held.merged"].any()
    assert told_bytes(grid) == ledger_bytes(end)
    assert_same(simulated(tmp_path, *words), end)


def told_bytes(grid: Loopback) -> tuple[int, int]:
    """Bytes of all messages that devices were told, from the orders that reached them: of payloads, and around them."""
    orders = [m for node in grid.nodes.values() for m in node.seen if m.metadata.message_type == "train"]
    told = [telling.message for order in orders for telling in Order.of(order.content).told]
    messages = [decode_message(data, LIMITS)[1] for data in told]
    payload = sum(int(p.nbytes()[0]) for message in messages for p in message.values())
    return payload, sum(map(len, told)) - payload


def ledger_bytes(end: Ended) -> tuple[int, int]:
    """The bytes to clients that the ledger counts: of payloads, and around them."""
    total = end.records[-1]["traffic_total"]
    return total["down_payload_bytes"], total["down_header_bytes"]


@pytest.mark.parametrize(
    "words",
    [
        ["strategy=scafcom", "cohort=2", "rounds=6"],
        ["strategy=scafcom", "downlink=topk", "downlink.fraction=0.02", "cohort=2", "rounds=8"],
        ["strategy=masha", "data=saddle", "cohort=2", "rounds=6"],
        ["strategy=marina", "cohort=2", "rounds=6"],
        ["strategy=extragradient", "data=saddle", "cohort=2", "downlink=topk"],
        [f"strategy={OWN}:Holding", "cohort=2", "downlink=topk"],
        [f"strategy={OWN}:Recalling", "cohort=3"],
    ],
    ids=lambda words: "-".join(words[:2]),
)
def test_devices_are_told_the_messages_that_the_ledger_counts(words: list[str], tmp_path: Path) -> None:
    end, grid = deployed(tmp_path, *words)
    assert told_bytes(grid) == ledger_bytes(end)


def test_devices_with_data_of_their_own_have_the_bits_of_a_simulation_of_all(tmp_path: Path) -> None:
    own_task.write(tmp_path / "data", CLIENTS)
    words = [
        "strategy=fedavg",
        f"data={OWN}:load",
        "model=linear",
        f"data_dir={tmp_path / 'data' / 'all'}",
        "batch=5",
    ]
    grid = Loopback(tmp_path, 0)
    for client in range(CLIENTS):
        grid.add(100 + client, client, **{"data-dir": str(tmp_path / "data" / f"device-{client}")})
    one = simulated(tmp_path, *words, "partition=natural")
    other, _ = deployed(tmp_path, *words, "partition=own", grid=grid)
    assert_same(one, other)
