"""``examples``: some of the training examples, and nothing else of the data set."""

from __future__ import annotations

import numpy as np
import pytest

from fedsparse import config, recorded
from fedsparse.data import Dataset
from fedsparse.data.chosen import chosen
from fedsparse.errors import ConfigError
from fedsparse.runfolder import read_rounds


def numbered(groups: np.ndarray | None = None) -> Dataset:
    """Example i of 20 has the input and the label i."""
    x = np.arange(20, dtype=np.float32)[:, None]
    return Dataset("numbered", x, np.arange(20), x[:2], np.arange(2), classes=20, groups=groups)


def test_two_parts_of_an_order_share_nothing_and_are_the_whole() -> None:
    one, other = (chosen(numbered(), part, seed=3) for part in ("5", "5:20"))
    assert (len(one.x), len(other.x)) == (5, 15)
    assert sorted([*one.y, *other.y]) == list(range(20))
    assert np.array_equal(one.x[:, 0], one.y)
    assert np.array_equal(one.x_test, numbered().x_test)


def test_another_seed_chooses_others() -> None:
    assert chosen(numbered(), "5", seed=0).y.tolist() != chosen(numbered(), "5", seed=1).y.tolist()


def test_natural_clients_without_an_example_are_gone() -> None:
    part = chosen(numbered(groups=np.arange(20) // 2), "3", seed=0)
    assert part.groups is not None
    assert sorted(set(part.groups)) == list(range(len(set(part.y // 2))))


@pytest.mark.parametrize("part", ["0", "21", "5:5", "30:40"])
def test_a_part_that_is_not_there_is_refused(part: str) -> None:
    with pytest.raises(ConfigError, match=f"examples={part}: must be a part of 0:20"):
        chosen(numbered(), part, seed=0)


def test_what_is_no_part_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match="examples=half: must be how many"):
        config.parse(["examples=half"])


RUN = ["engine=local", "engine.workers=1", "rounds=1", "clients=10", "quiet=true", "name=it"]


def test_clients_have_the_chosen_examples_alone(tmp_path) -> None:
    words = ["examples=200", "validation=0.1", "sampler=full", "batch=0", "strategy.steps=1"]
    recorded.run(config.parse([*RUN, *words, f"runs={tmp_path}"]))
    assert read_rounds(tmp_path / "it")[-1]["examples"] == 180


def test_a_problem_has_nothing_to_choose_from(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"examples=5: data=quadratic .* no examples"):
        recorded.run(config.parse([*RUN, "data=quadratic", "examples=5", f"runs={tmp_path}"]))
