"""``python -m fedsparse.experiment``: runs what is missing, reads what is there, judges, and keeps results."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from fedsparse.experiment import main
from fedsparse.experiment.stored import load
from fedsparse.runfolder import read_summary

TINY = {
    "title": "Three quadratics",
    "claim": "Error feedback helps.",
    "source": "nobody",
    "metric": "distance",
    "task": ["data=quadratic", "clients=3", "cohort=3", "rounds=6", "eval_every=2"],
    "seeds": [5, 6],
    "targets": [0.9],
    "methods": [
        {"label": "plain, dense", "words": ["strategy=fedavg", "strategy.steps=1"]},
        {"label": "EF21", "words": ["strategy=ef21", "uplink.fraction=0.1"]},
    ],
    "expected": [{"method": "plain, dense", "below": 1e-9}, {"method": "EF21", "above": 1e-9}],
    "quick": {"words": ["rounds=2"], "seeds": [5]},
}
TUNED = {**TINY, "tune": {"grid": {"strategy.lr": [0.001, 0.1]}, "seeds": [0], "validation": 0}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, with an experiment ``tiny`` and a README that has a place for the table."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    write(tmp_path, TINY)
    (tmp_path / "experiments" / "README.md").write_text(
        "a\n<!-- results:begin -->\n<!-- results:end -->\nb\n"
    )
    return tmp_path


def write(folder: Path, experiment: dict) -> None:
    (folder / "experiments" / "tiny.yaml").write_text(yaml.safe_dump(experiment, sort_keys=False))


def test_a_claim_is_judged_and_everything_is_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tiny", "--jobs", "1"]) == 0
    assert "status: partly" in capsys.readouterr().out
    found = load(folder / "experiments/results/tiny", "full")
    assert found is not None
    assert [seen.holds for seen in found.seen] == [False, True]
    assert [(end.method, end.rounds) for end in found.ends] == [("plain, dense", 6), ("EF21", 6)]
    assert found.seconds is not None
    assert found.seconds > 0
    assert found.versions["commit"]
    assert "</svg>" in (folder / "experiments/results/tiny/full.svg").read_text()
    page = (folder / "runs/experiments/tiny-full/page/index.html").read_text()
    assert "plain, dense" in page
    readme = (folder / "experiments/README.md").read_text()
    assert readme.startswith("a\n")
    assert readme.endswith("b\n")
    assert "| [tiny](results/tiny/full.md) | Error feedback helps. | nobody | partly |" in readme


def test_what_is_finished_is_only_read(folder: Path) -> None:
    assert main(["tiny", "quick", "--jobs", "1"]) == 0
    kept = folder / "experiments/results/tiny/quick.csv"
    first = kept.read_bytes()
    times = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("rounds.jsonl")}
    assert len(times) == 2
    assert main(["tiny", "quick", "--jobs", "1"]) == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert kept.read_bytes() == first


@pytest.mark.slow
def test_several_processes_give_the_same_bits(folder: Path) -> None:
    kept = folder / "experiments/results/tiny/full.csv"
    assert main(["tiny", "--jobs", "1", "--runs", "one"]) == 0
    first = kept.read_bytes()
    assert main(["tiny", "--jobs", "2", "--runs", "two"]) == 0
    assert kept.read_bytes() == first


def test_values_are_chosen_with_other_seeds_and_said(folder: Path) -> None:
    write(folder, TUNED)
    assert main(["tiny", "--jobs", "1"]) == 0
    found = load(folder / "experiments/results/tiny", "full")
    assert found is not None
    assert [end.chosen for end in found.ends] == [{"strategy.lr": 0.1}] * 2
    table = (folder / "experiments/results/tiny/full.md").read_text()
    assert "| EF21 | lr 0.1* |" in table
    assert "\\* the smallest or the largest value that was tried" in table
    (run,) = (folder / "runs").glob("experiments/tiny-full/final/EF21/s5")
    summary = read_summary(run)
    assert summary is not None
    assert summary["tuning"]["trials"] == 2


DIGITS = ["data=digits", "partition=iid", "model=linear", "batch=10", "network=none"]
PREPARED = {
    **TINY,
    "metric": "accuracy",
    "prepare": [{"name": "base", "words": [*DIGITS, "examples=0:300", "clients=1", "rounds=1"]}],
    "task": [
        *DIGITS, "examples=300:400", "clients=2", "rounds=1", "model=saved", "model.base={base}", "strategy.lr=1e-9",
    ],
    "columns": {"down": "down_bytes", "kept": "scalars.kept.mean"},
    "methods": [
        {"label": "dense", "words": ["strategy=fedavg"]},
        {"label": "gated", "words": ["strategy=pfedgate", "strategy.budget=0.5"]},
    ],
    "targets": [],
    "expected": [
        {"method": "dense", "above": 0.2},
        {"method": "gated", "metric": "up_bytes", "below": "dense", "times": 0.8},
    ],
}  # fmt: skip


def test_runs_that_come_first_are_where_the_others_begin_and_further_figures_are_judged(folder: Path) -> None:
    write(folder, PREPARED)
    assert main(["tiny", "--jobs", "1"]) == 0
    found = load(folder / "experiments/results/tiny", "full")
    assert found is not None
    assert [seen.holds for seen in found.seen] == [True, True]
    dense, gated = found.ends
    # A step of 1e-9 leaves a model as it was, and those of the two seeds are not alike.
    bases = [folder / "runs/experiments/tiny-full/prepare/base" / seed for seed in ("s5", "s6")]
    ends = sorted(read_summary(base)["final"]["accuracy"] for base in bases)  # type: ignore[index]
    assert ends[0] < ends[1]
    assert [dense.lowest, dense.highest] == ends
    # Both clients hear 650 numbers of 4 bytes, and a header; only gates keep a part.
    assert dense.figures["down_bytes"] == pytest.approx(2 * 650 * 4, rel=0.1)
    assert "scalars.kept.mean" not in dense.figures
    assert 0 < gated.figures["scalars.kept.mean"] <= 0.5
    assert "| up | down | kept |" in (folder / "experiments/results/tiny/full.md").read_text()


def test_unequal_budgets_are_refused_before_anything_runs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, {**TUNED, "tune": {**TUNED["tune"], "own": {"EF21": {"strategy.lr": [0.1]}}}})
    assert main(["tiny"]) == 2
    assert "plain, dense 2, EF21 1" in capsys.readouterr().err
    assert not (folder / "runs").exists()


def test_changed_keys_leave_the_kept_results_alone(folder: Path) -> None:
    assert main(["tiny", "quick", "rounds=4", "--jobs", "1"]) == 0
    assert not (folder / "experiments/results").exists()
    assert (folder / "runs/experiments/tiny-quick/quick.json").exists()


def test_runs_of_another_experiment_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tiny", "quick", "--jobs", "1"]) == 0
    assert main(["tiny", "quick", "rounds=4", "--jobs", "1"]) == 4
    assert "rounds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"titel": "x"}, "did you mean 'title'"),
        ({"methods": [{"label": "x"}]}, "words must be given"),
        ({"against": "bytes"}, "against"),
        ({"seeds": [1, 1]}, "each seed must be there once"),
        ({"expected": [{"method": "EF22", "below": 1}]}, "'EF22' is no method"),
        ({"task": ["data=quadratic", "clients=3", "roundz=3"]}, "roundz"),
        ({"metric": "accuracy"}, "accuracy"),
        ({"task": [*TINY["task"], "model.base={bse}"]}, "nothing of that name is prepared"),
        ({"prepare": [{"name": "base", "words": ["roundz=3"]}]}, "roundz"),
        ({"columns": {"kept": "scalars.kept.mean"}}, "scalars.kept.mean: no run has"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(
    change: dict, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, {**TINY, **change})
    assert main(["tiny", "quick", "--jobs", "1"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if said in line]
    assert line.startswith("fedsparse: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tinny"], "did you mean 'tiny'"),
        (["other.yaml"], "no such file"),
        (["tiny", "quik"], "did you mean 'quick'"),
        (["tiny", "--jobs", "0"], "at least 1"),
        (["tiny", "--fast"], "--help"),
    ],
)
def test_a_mistyped_command_is_refused(
    words: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert folder.exists()
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_the_list_has_titles_and_times(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tiny", "quick", "--jobs", "1"]) == 0
    capsys.readouterr()
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "Three quadratics" in shown
    assert "scafcom" in shown
    assert folder.exists()


def test_a_file_is_given_by_its_path(folder: Path) -> None:
    (folder / "mine.yaml").write_text((folder / "experiments/tiny.yaml").read_text())
    assert main(["mine.yaml", "quick", "--jobs", "1"]) == 0
    assert json.loads((folder / "experiments/results/mine/quick.json").read_text())["variant"] == "quick"


@pytest.mark.slow
def test_an_interrupted_experiment_goes_on_and_gives_the_same_bits(folder: Path) -> None:
    write(folder, {**TINY, "task": [*TINY["task"][:3], "rounds=3000", "eval_every=500"]})
    command = [sys.executable, "-m", "fedsparse.experiment", "tiny", "--jobs", "2"]
    process = subprocess.Popen([*command, "--runs", "cut"], cwd=folder)
    deadline = time.monotonic() + 60
    while not list(folder.glob("cut/final/*/*/rounds.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    assert not (folder / "experiments/results/tiny").exists()
    subprocess.run([*command, "--runs", "cut"], cwd=folder, check=True)
    pieces = [len(file.read_text().split()) for file in folder.glob("cut/final/*/*/processor_seconds")]
    assert max(pieces) == 2
    cut = (folder / "experiments/results/tiny/full.csv").read_bytes()
    subprocess.run([*command, "--runs", "whole"], cwd=folder, check=True)
    assert (folder / "experiments/results/tiny/full.csv").read_bytes() == cut


BROKEN = '''
"""FedAvg that fails."""

from dataclasses import dataclass

from fedsparse.strategies.fedavg import FedAvg


@dataclass(frozen=True)
class Broken(FedAvg):
    """See above."""

    def aggregate(self, server, inbox, ctx):
        raise ValueError("no sum today")
'''


@pytest.mark.slow
def test_a_run_that_fails_ends_the_others_and_says_why(folder: Path) -> None:
    (folder / "broken.py").write_text(BROKEN)
    broken = {"label": "broken", "words": ["strategy=broken.py"]}
    write(folder, {**TINY, "methods": [broken, *TINY["methods"]]})
    command = [sys.executable, "-m", "fedsparse.experiment", "tiny", "--jobs", "2"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "no sum today" in done.stderr
    assert not (folder / "experiments/results").exists()
