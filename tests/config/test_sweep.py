"""Sweeps: which runs they are."""

from __future__ import annotations

import pytest

from fedsparse import registry
from fedsparse.config import jobs
from fedsparse.errors import ConfigError


def _labels(*overrides: str) -> list[str]:
    return [job.label for job in jobs(overrides)]


def test_all_combinations_come_with_the_last_key_fastest() -> None:
    assert _labels("strategy=fedavg,scafcom", "seed=0,1") == [
        "strategy=fedavg seed=0",
        "strategy=fedavg seed=1",
        "strategy=scafcom seed=0",
        "strategy=scafcom seed=1",
    ]


def test_each_job_has_its_own_values() -> None:
    made = jobs(["strategy=fedavg,scafcom", "seed=5", "clients=20"])
    assert [(j.config.strategy.name, j.config.seed, j.config.clients) for j in made] == [
        ("fedavg", 5, 20),
        ("scafcom", 5, 20),
    ]


def test_ranges_and_globs_are_sweeps() -> None:
    assert _labels("seed=range(0,3)") == ["seed=0", "seed=1", "seed=2"]
    found = [label.removeprefix("strategy=") for label in _labels("strategy=glob(fed*)")]
    assert found == [name for name in registry.strategies.names() if name.startswith("fed")]


def test_schedules_can_be_swept() -> None:
    made = jobs(["strategy.lr=cosine(0.1,0.01),0.05"])
    assert [job.config.strategy.options["lr"] for job in made] == ["cosine(0.1,0.01)", 0.05]


def test_a_name_becomes_one_for_each_job() -> None:
    assert [j.config.name for j in jobs(["name=t", "strategy.lr=cosine(0.1,0.01),0.5", "seed=0,1"])] == [
        "t-cosine_0.1_0.01-0",
        "t-cosine_0.1_0.01-1",
        "t-0.5-0",
        "t-0.5-1",
    ]


def test_one_wrong_job_stops_the_sweep_before_it_starts() -> None:
    with pytest.raises(ConfigError, match="scafcon"):
        jobs(["strategy=fedavg,scafcon"])


def test_continuous_ranges_are_refused() -> None:
    with pytest.raises(ConfigError, match="sweep"):
        jobs(["strategy.lr=interval(0,1)"])
