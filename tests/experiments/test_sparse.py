"""The comparison of sparse models runs, goes on where it was, and says what it found."""

import json
from pathlib import Path

import pytest
import yaml

from experiments.sparse.tiny import HERE, main

STUDY = {
    "data": "digits",
    "examples": 300,
    "public": 60,
    "pretraining": {"epochs": 1, "lr": 0.05, "batch": 20},
    "model": {"norm": "batch", "width": 2},
    "clients": 3,
    "alpha": 1.0,
    "rounds": 1,
    "batch": 10,
    "local": {"lr": 0.05, "steps": 1},
    "densities": [0.2],
    "seeds": [0, 1],
}


@pytest.fixture(scope="module")
def study() -> dict:
    return {**STUDY, "methods": yaml.safe_load((HERE / "tiny.yaml").read_text())["methods"]}


def test_every_method_has_its_line_and_nothing_is_computed_twice(
    study: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    words = ["--study", str(file), "--runs", str(tmp_path / "runs.jsonl"), "--results", str(tmp_path)]
    assert main(["seed=0", *words]) == 0
    runs = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert [r["method"] for r in runs] == list(study["methods"])
    assert all(0 < r["flops_mean"] <= r["flops_max"] and r["up"] > 0 for r in runs)
    assert (tmp_path / "tiny.md").read_text().count("\n") == 2 + len(runs)
    capsys.readouterr()
    assert main(["seed=0", *words]) == 0
    assert capsys.readouterr().out == ""
