"""Devices are tested one by one, with the numbers of a simulation."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flwr.app import Message

from fedsparse.errors import ConfigError
from fedsparse.flower.letters import Answer
from fedsparse.runfolder import read_rounds
from tests.flower import own_task
from tests.flower.loopback import Loopback
from tests.flower.parity import CLIENTS, assert_same, deployed, simulated

NONE_FOR_THE_FIRST = f"partition={own_task.__name__}:none_for_the_first"
PERSONAL = ["personal=0.25", "eval_every=1", "rounds=2"]
STRATEGIES = {
    "common model": ["strategy=fedavg"],
    "tuned": ["strategy=fedavg", "strategy.tune=2"],
    "own model": ["strategy=local_only"],
    "gates": ["strategy=pfedgate"],
    "tickets": ["strategy=lotteryfl"],
    "statistics": ["strategy=fedavg", "model=resnet", "model.width=2", "model.norm=batch"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_way_to_a_clients_own_model_has_the_metrics_of_its_simulation(
    name: str, tmp_path: Path
) -> None:
    words = [*STRATEGIES[name], *PERSONAL]
    one = simulated(tmp_path, *words)
    assert {"personal_accuracy", "personal_accuracy_worst"} <= one.records[-1]["metrics"].keys()
    assert_same(one, deployed(tmp_path, *words)[0])


def test_clients_that_never_take_part_are_told_apart(tmp_path: Path) -> None:
    words = ["strategy=fedavg", *PERSONAL, "sampler.novel=0.25", "cohort=2"]
    one = simulated(tmp_path, *words)
    assert "novel_personal_accuracy" in one.records[-1]["metrics"]
    assert_same(one, deployed(tmp_path, *words)[0])


@pytest.mark.parametrize(
    ("words", "able"),
    [
        (["strategy=snip", "sampler.novel=0.25", *PERSONAL], {0, 1, 2}),
        (["strategy=scaffold", "sampler.novel=0.5", *PERSONAL], {0, 1}),
        (["strategy=ef21_plus", "strategy.partial=true", "sampler=weighted", NONE_FOR_THE_FIRST], {1, 2, 3}),
    ],
    ids=["phase for everybody", "mean over everybody", "without examples"],
)
def test_who_cannot_take_part_is_asked_nothing_and_counts_nowhere(
    words: list[str], able: set[int], tmp_path: Path
) -> None:
    one = simulated(tmp_path, *words, "cohort=2")
    other, grid = deployed(tmp_path, *words, "cohort=2")
    assert_same(one, other)
    assert {client for client, node in enumerate(grid.nodes.values()) if _orders(node.seen)} == able


def _orders(seen: list[Message]) -> list[Message]:
    """Those of the messages that a device trains for."""
    return [message for message in seen if message.metadata.message_type.startswith("train")]


@pytest.mark.parametrize(
    "extra",
    [
        ["strategy=fedavg"],
        # Its sums are over the examples of those who can take part, which only the server knows.
        ["strategy=pfedgate", "sampler.novel=0.25", "cohort=2"],
    ],
    ids=["all", "some novel"],
)
def test_devices_with_data_of_their_own_set_aside_what_a_simulation_of_all_does(
    extra: list[str], tmp_path: Path
) -> None:
    own_task.write(tmp_path / "data", CLIENTS)
    words = [
        *extra,
        f"data={own_task.__name__}:load",
        "model=linear",
        f"data_dir={tmp_path / 'data' / 'all'}",
        *PERSONAL,
    ]
    grid = Loopback(tmp_path, 0)
    for client in range(CLIENTS):
        grid.add(100 + client, client, **{"data-dir": str(tmp_path / "data" / f"device-{client}")})
    one = simulated(tmp_path, *words, "partition=natural")
    assert_same(one, deployed(tmp_path, *words, "partition=own", grid=grid)[0])


def says(change: Callable[[Answer], Answer | None]) -> Callable[[Message, Message], Message | None]:
    """A device that says something else of itself; None: nothing."""

    def replies(asked: Message, reply: Message) -> Message | None:
        if asked.metadata.message_type != "evaluate":
            return reply
        answer = change(Answer.of(reply.content))
        return None if answer is None else Message(answer.content(), reply_to=asked)

    return replies


LIES: dict[str, Callable[[Answer], Answer]] = {
    "infinity": lambda a: replace(a, scalars={"@personal_accuracy": float("inf")}),
    "something else": lambda a: replace(a, scalars={"@made_up": 1.0}),
    "nothing": lambda a: replace(a, scalars={}),
    "as another client": lambda a: replace(a, client=0),
}


def metrics_of(folder: Path, replies: Callable[[Message, Message], Message | None]) -> list[dict]:
    """Records of a run in which client 2 is tested like that."""

    def prepare(grid: Loopback) -> None:
        grid.nodes[102].replies = replies

    deployed(folder, "strategy=fedavg", *PERSONAL, "engine.patience=0.5", prepare=prepare)
    return read_rounds(folder / "deployed")


@pytest.mark.slow
@pytest.mark.parametrize("name", LIES)
def test_what_cannot_be_is_counted_and_left_out(name: str, tmp_path: Path) -> None:
    honest = metrics_of(tmp_path / "honest", lambda asked, reply: reply)
    silent = metrics_of(tmp_path / "silent", says(lambda answer: None))
    lied = metrics_of(tmp_path / "lied", says(LIES[name]))
    for record, without, full in zip(lied, silent, honest, strict=True):
        assert record["flower"]["refused_verdicts"] == 1
        assert without["flower"]["refused_verdicts"] == full["flower"]["refused_verdicts"] == 0
        assert record["metrics"] == without["metrics"]
        assert record["metrics"]["accuracy"] == full["metrics"]["accuracy"]
    assert [r["metrics"] for r in lied] != [r["metrics"] for r in honest]


def test_tests_are_no_part_of_the_methods_traffic(tmp_path: Path) -> None:
    deployed(tmp_path, "strategy=fedavg", "rounds=2")
    plain = read_rounds(tmp_path / "deployed")
    tested = metrics_of(tmp_path / "tested", lambda asked, reply: reply)
    for one, other in zip(plain, tested, strict=True):
        assert one["traffic"] == other["traffic"]
        assert one["flower"]["down_flower_bytes"] < other["flower"]["down_flower_bytes"]


def test_in_gossip_it_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="every client's own model is tested on the common test examples"):
        deployed(tmp_path, "strategy=dpsgd", "topology=ring", *PERSONAL)
