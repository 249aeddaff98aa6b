"""The validation part: held back from clients, in proportion, and evaluated."""

from __future__ import annotations

import numpy as np
import pytest

from fedsparse import config, data, recorded
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.supervised import SupervisedWorkload
from fedsparse.data import Dataset
from fedsparse.data.__main__ import main
from fedsparse.data.partition import partition
from fedsparse.data.validation import held_back
from fedsparse.errors import ConfigError
from fedsparse.runfolder import read_rounds


def numbered(n: int, *, groups: np.ndarray | None = None, regression: bool = False) -> Dataset:
    """Example i has the input i; classes 0 and 1 in the proportion 3 to 1."""
    x = np.arange(n, dtype=np.float32)[:, None]
    y = x[:, 0] if regression else (np.arange(n) % 4 == 0).astype(np.int64)
    return Dataset("numbered", x, y, x[:2], y[:2], classes=1 if regression else 2, groups=groups)


def inputs(part: np.ndarray | None) -> list[int]:
    assert part is not None
    return part[:, 0].astype(int).tolist()


def test_no_share_is_the_data_set_itself() -> None:
    dataset = numbered(20)
    assert held_back(dataset, 0.0, seed=0) is dataset


def test_every_example_is_in_one_part_with_its_label() -> None:
    cut = held_back(numbered(100), 0.2, seed=0)
    assert sorted(inputs(cut.x) + inputs(cut.x_validation)) == list(range(100))
    assert cut.y_validation is not None
    for x, y in ((cut.x, cut.y), (cut.x_validation, cut.y_validation)):
        assert [int(i % 4 == 0) for i in inputs(x)] == y.tolist()


def test_every_class_gives_its_share() -> None:
    cut = held_back(numbered(100), 0.2, seed=0)
    assert np.bincount(cut.y_validation).tolist() == [15, 5]  # type: ignore[arg-type]


def test_another_seed_holds_back_other_examples_and_the_same_seed_the_same() -> None:
    first, again, other = (inputs(held_back(numbered(100), 0.2, seed).x_validation) for seed in (0, 0, 1))
    assert first == again != other


def test_the_test_part_stays() -> None:
    cut, dataset = held_back(numbered(100), 0.2, seed=0), numbered(100)
    assert np.array_equal(cut.x_test, dataset.x_test)


def test_numbers_are_held_back_too() -> None:
    assert len(inputs(held_back(numbered(50, regression=True), 0.1, seed=0).x_validation)) == 5


def test_every_natural_client_keeps_an_example() -> None:
    groups = np.repeat(np.arange(40), [1] * 20 + [4] * 20)
    cut = held_back(numbered(100, groups=groups), 0.5, seed=0)
    assert len(inputs(cut.x_validation)) == 50
    assert cut.groups is not None
    assert set(cut.groups.tolist()) == set(range(40))


def test_more_than_natural_clients_can_give_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"validation=0.5: would hold back 10 of 20 examples, and 5 can be"):
        held_back(numbered(20, groups=np.arange(20) % 15), 0.5, seed=0)


def test_a_share_that_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"validation=0.99: .* both parts need some"):
        held_back(numbered(10), 0.99, seed=0)


def test_both_parts_are_evaluated_in_pieces() -> None:
    import torch
    from torch import nn

    whole = data.load("digits")
    assert isinstance(whole, Dataset)
    cut = held_back(whole, 0.75, seed=0)  # 1078 examples: two pieces
    workload = SupervisedWorkload(
        Examples.of(cut, partition("iid", cut, 5, 0)), nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), 10
    )
    x, none = torch.full_like(workload.start.x, 0.01), torch.zeros(0)
    parts = [
        workload.evaluate(x, none, piece, lambda x, inputs, forward: forward(x, inputs))
        for piece in range(workload.chunks)
    ]
    assert workload.chunks == 3
    # All weights equal: every class gets the same output, so class 0 is said and the loss is log 10.
    assert workload.metrics(parts) == pytest.approx(
        {
            "loss": np.log(10),
            "accuracy": (cut.y_test == 0).mean(),
            "validation_loss": np.log(10),
            "validation_accuracy": (cut.y_validation == 0).mean(),
        },
        rel=1e-5,
    )


RUN = ["engine=local", "engine.workers=1", "rounds=2", "clients=10", "quiet=true", "name=it"]


def test_a_run_evaluates_the_validation_part_and_trains_without_it(tmp_path) -> None:
    recorded.run(config.parse([*RUN, "validation=0.1", f"runs={tmp_path}", "sampler=full", "batch=0"]))
    last = read_rounds(tmp_path / "it")[-1]
    assert set(last["metrics"]) == {"accuracy", "loss", "validation_accuracy", "validation_loss"}
    # All ten clients take five steps over all that they have: 1437 examples without 144.
    assert last["examples"] == 5 * (1437 - 144)


def test_the_preview_of_a_partition_leaves_out_what_is_held_back(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["digits", "partition=iid", "clients=10"]
    assert main([*words, "validation=0.1"]) == 0
    assert "1,293" in capsys.readouterr().out
    assert main([*words, "validation=2"]) == 2


def test_a_problem_has_nothing_to_hold_back(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"validation=0.1: data=quadratic .* no examples to hold back"):
        recorded.run(config.parse([*RUN, "data=quadratic", "validation=0.1", f"runs={tmp_path}"]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("share", "count"), [(0.05, 50), (0.1, 100), (0.2, 200)])
def test_a_whole_number_of_examples_is_not_rounded_up(share: float, count: int) -> None:
    one_client = numbered(1000, groups=np.zeros(1000, np.int64))
    assert len(inputs(held_back(one_client, share, seed=0).x_validation)) == count
