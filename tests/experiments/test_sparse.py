"""The comparisons of sparse and of personal models run, go on where they were, and say what they found."""

import json
from pathlib import Path

import pytest
import yaml

from experiments.sparse import personal
from experiments.sparse.stored import HERE, RESULTS
from experiments.sparse.tiny import main

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


PERSONAL = {
    "data": "digits",
    "examples": 300,
    "clients": 4,
    "alpha": 1.0,
    "personal": 0.25,
    "novel": 0.25,
    "model": {"name": "mlp", "hidden": [8]},
    "rounds": 2,
    "batch": 10,
    "steps": 1,
    "seeds": [0, 1],
}


def test_personal_models_have_their_table_and_picture_and_nothing_is_computed_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = yaml.safe_load((HERE / "personal.yaml").read_text())["methods"]
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**PERSONAL, "methods": methods}, sort_keys=False))
    words = ["--study", str(file), "--runs", str(tmp_path / "runs.jsonl"), "--results", str(tmp_path)]
    assert personal.main(["seed=0", *words]) == 0
    runs = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert [r["method"] for r in runs] == list(methods)
    assert all(0 < r["kept"] <= 1 and r["flops"] > 0 for r in runs)
    # A perceptron of 64, 8 and 10 units: 3 passes of 2 (64 * 8 + 8 * 10) for each of 10 examples.
    assert runs[0]["flops"] == 3 * 2 * (64 * 8 + 8 * 10) * 10
    assert (tmp_path / "personal.md").read_text().count("\n") == 2 + len(runs)
    assert (tmp_path / "personal.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert personal.main(["seed=0", *words]) == 0
    assert capsys.readouterr().out == ""


def test_the_stored_results_are_of_what_the_file_asks_for() -> None:
    methods = yaml.safe_load((HERE / "personal.yaml").read_text())["methods"]
    lines = (RESULTS / "personal.md").read_text(encoding="utf-8").splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == list(methods)
    assert {(RESULTS / f"personal.{kind}").exists() for kind in ("png", "svg")} == {True}
