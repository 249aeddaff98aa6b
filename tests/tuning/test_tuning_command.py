"""The command, on small problems: every trial is an ordinary run, the best is chosen, a stopped tuning goes on."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import yaml

from fedsparse import run, tune
from fedsparse.runfolder import read_rounds, read_summary

LOCAL = ["engine=local", "engine.workers=1", "quiet=true"]
QUADRATIC = ["data=quadratic", "data.size=5", "clients=4", "cohort=4", "rounds=3", *LOCAL]
DIGITS = ["clients=5", "cohort=5", "model=linear", "validation=0.2", "rounds=2", *LOCAL]

STOPPED = '''
"""FedAvg that is interrupted once, where the file ``stop`` says so."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from fedsparse.strategies.fedavg import FedAvg


@dataclass(frozen=True)
class Stopped(FedAvg):
    """See above."""

    def aggregate(self, server, inbox, ctx):
        stop = Path("stop")
        if stop.exists() and stop.read_text() == f"{self.lr} {ctx.seed} {ctx.round}":
            stop.unlink()
            os.kill(os.getpid(), signal.SIGINT)
        return super().aggregate(server, inbox, ctx)
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "stopped.py").write_text(STOPPED)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def result(name: str) -> dict[str, Any]:
    return dict(json.loads(Path("runs", name, "tuned.json").read_text())["result"])


def last(path: str | Path) -> dict[str, float]:
    return dict(read_rounds(Path(path))[-1]["metrics"])


def test_the_best_mean_over_the_seeds_is_chosen_and_reported_on_the_test_part(capsys: Any) -> None:
    grid = ["strategy=fedavg,scafcom", "strategy.lr=0.01,0.1,1", "seed=0,1", "report_seed=7,8"]
    assert tune.main([*grid, *DIGITS, "name=t"]) == 0
    table = capsys.readouterr().out
    for found in result("t")["methods"]:
        method, chosen = found["method"], found["tuning"]["chosen"]
        means = [
            fmean(last(f"runs/t/trials/{method}-{n}-s{seed}")["validation_accuracy"] for seed in (0, 1))
            for n in (1, 2, 3)
        ]
        best = max(means)
        assert chosen == {"strategy.lr": [0.01, 0.1, 1][means.index(best)]}
        assert [s["score"] for s in found["settings"]] == means
        assert len(set(means)) > 1
        test = [last(f"runs/t/report/{method}-s{seed}")["accuracy"] for seed in (7, 8)]
        assert found["test"] == {"metric": "accuracy", "mean": fmean(test), "std": stdev(test)}
        assert f"strategy.lr={chosen['strategy.lr']}" in table


def test_every_run_is_an_ordinary_one() -> None:
    assert (
        tune.main(["strategy=scafcom", "strategy.lr=0.1,0.2", "seed=3", "report_seed=4", *DIGITS, "name=t"])
        == 0
    )
    chosen = result("t")["methods"][0]["tuning"]["chosen"]["strategy.lr"]
    for name, lr, seed in (("trials/scafcom-2-s3", 0.2, 3), ("report/scafcom-s4", chosen, 4)):
        words = ["strategy=scafcom", f"strategy.lr={lr}", f"seed={seed}", *DIGITS]
        assert run.main([*words, f"name=alone{seed}"]) == 0
        assert lines(Path("runs/t", name)) == lines(Path(f"runs/alone{seed}"))


def lines(path: Path) -> list[dict[str, Any]]:
    """The records without what depends on the clock."""
    return [{k: v for k, v in record.items() if k != "wall_s"} for record in read_rounds(path)]


def test_runs_with_chosen_values_say_how_they_were_tuned_and_trials_do_not() -> None:
    assert (
        tune.main(["strategy=fedavg", "strategy.lr=0.1,0.2", "seed=0", "report_seed=7", *QUADRATIC, "name=t"])
        == 0
    )
    (found,) = result("t")["methods"]
    report, trial = Path("runs/t/report/fedavg-s7"), Path("runs/t/trials/fedavg-1-s0")
    said = yaml.safe_load((report / "config.yaml").read_text())["tuning"]
    assert said == found["tuning"] == (read_summary(report) or {})["tuning"]
    assert (said["grid"], said["trials"], said["select"]) == ({"strategy.lr": [0.1, 0.2]}, 2, "final")
    assert (read_summary(trial) or {"tuning": 0})["tuning"] is None
    assert "tuning" not in yaml.safe_load((trial / "config.yaml").read_text())


def test_a_setting_that_diverges_loses_and_is_counted(capsys: Any) -> None:
    # Steps of 1e80 overflow in the first round; without a finite rival nothing would be chosen.
    words = ["strategy=fedavg", "seed=0,1", "report_seed=7", *QUADRATIC]
    assert tune.main([*words, "strategy.lr=1e80,0.1", "name=t"]) == 0
    (found,) = result("t")["methods"]
    assert found["tuning"]["chosen"] == {"strategy.lr": 0.1}
    assert [trial["outcome"] for trial in found["settings"][0]["trials"]] == ["diverged", "diverged"]
    assert "2 of 4 runs diverged" in capsys.readouterr().err
    assert tune.main([*words, "strategy.lr=1e80,1e90", "name=u"]) == 11
    assert result("u")["methods"][0]["tuning"] is None
    assert "nothing is chosen" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "stop",
    ["0.1 1 0", "0.1 1 2", "0.2 8 1"],
    ids=["in a trial", "in the last round of a trial", "in a report run"],
)
def test_a_stopped_tuning_goes_on_to_the_same_result(stop: str, capsys: Any) -> None:
    words = ["strategy=stopped.py", "strategy.lr=0.1,0.2", "seed=0,1", "report_seed=7,8", *QUADRATIC]
    assert tune.main([*words, "name=whole"]) == 0
    Path("stop").write_text(stop)
    assert tune.main([*words, "name=cut"]) == 130
    assert "go on with: python -m fedsparse.tune resume=runs/cut" in capsys.readouterr().err
    assert result("cut") == {}
    finished = {p.parent: p.read_bytes() for p in Path("runs/cut").glob("*/*/summary.json")}
    assert 0 < len(finished) < 6
    assert tune.main(["resume=runs/cut", "quiet=true"]) == 0
    assert result("cut") == result("whole")
    for path in Path("runs/whole/report").iterdir():
        there = read_summary(Path("runs/cut/report", path.name))
        assert (there or {})["tuning"] == (read_summary(path) or {})["tuning"] is not None
    for path in Path("runs/whole").glob("*/*"):
        assert lines(path) == lines(Path("runs/cut", path.parent.name, path.name))
    for path, summary in finished.items():
        assert (path / "summary.json").read_bytes() == summary


@pytest.mark.slow
def test_a_step_size_from_theory_is_a_setting_of_a_tuning_that_goes_on() -> None:
    # The runs that are finished have a number where this tuning asks for theory.
    words = ["strategy=stopped.py", "strategy.lr=theory,0.1", "seed=0", "report_seed=7", *QUADRATIC]
    assert tune.main([*words, "name=whole"]) == 0
    Path("stop").write_text("0.1 0 1")
    assert tune.main([*words, "name=cut"]) == 130
    assert tune.main(["resume=runs/cut", "quiet=true"]) == 0
    assert result("cut") == result("whole")


@pytest.mark.slow
def test_what_diverged_is_not_run_again(capsys: Any) -> None:
    words = ["strategy=stopped.py", "strategy.lr=1e80,0.1", "seed=0", "report_seed=7", *QUADRATIC, "name=t"]
    Path("stop").write_text("0.1 0 0")
    assert tune.main(words) == 130
    capsys.readouterr()
    assert tune.main(["resume=runs/t"]) == 0
    assert "1e+80 seed" not in capsys.readouterr().err


def test_a_problem_is_judged_by_its_own_metric_and_this_is_said(capsys: Any) -> None:
    assert (
        tune.main(
            ["strategy=fedavg", "strategy.lr=0.01,0.1", "seed=0", "report_seed=7", *QUADRATIC, "name=t"]
        )
        == 0
    )
    (found,) = result("t")["methods"]
    assert found["tuning"]["metric"] == found["test"]["metric"] == "distance"
    distances = [last(f"runs/t/trials/fedavg-{n}-s0")["distance"] for n in (1, 2)]
    assert found["tuning"]["score"] == min(distances)
    assert "judged by the problem's own metric" in capsys.readouterr().err


def test_bytes_until_the_target_can_be_what_counts(capsys: Any) -> None:
    words = ["strategy=fedavg", "strategy.lr=0.002,0.1", "seed=0", "report_seed=7", *QUADRATIC, "rounds=5"]
    assert tune.main([*words, "select=bytes_to_target", "target=0.8", "eval_every=1", "name=t"]) == 0
    (found,) = result("t")["methods"]
    rounds = read_rounds(Path("runs/t/trials/fedavg-2-s0"))
    first = next(r for r in rounds if r["metrics"]["distance"] <= 0.8)["traffic_total"]
    sent = sum(first[f"{way}_{part}_bytes"] for way in ("up", "down") for part in ("payload", "header"))
    assert [s["score"] for s in found["settings"]] == [None, sent]
    assert "bytes to target" in capsys.readouterr().out


@pytest.mark.slow
def test_unequal_budgets_and_other_grids_are_told_after_they_were_accepted(capsys: Any) -> None:
    words = ["strategy=fedavg,fedprox", "fedavg:strategy.lr=0.1,0.2,0.3", "fedprox:strategy.lr=0.1,0.2"]
    assert tune.main([*words, "seed=0", "report_seed=7", *QUADRATIC, "name=t"]) == 2
    assert not Path("runs").exists()
    assert tune.main([*words, "seed=0", "report_seed=7", *QUADRATIC, "name=t", "budget=any"]) == 0
    said = capsys.readouterr().err
    assert "different numbers of trials: 3 (fedavg) against 2 (fedprox)" in said
    assert "different grids of strategy.lr" in said


def test_a_value_on_the_edge_is_told(capsys: Any) -> None:
    assert (
        tune.main(["strategy=fedavg", "strategy.lr=0.001,0.01", "seed=0", "report_seed=7", *QUADRATIC]) == 0
    )
    assert "fedavg: strategy.lr=0.01 lies on the edge of the grid" in capsys.readouterr().err


WORDS = ["strategy=fedavg", "strategy.lr=0.1,0.2", *LOCAL, "name=t"]


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (WORDS, 2, "must not be chosen on the test part; hold back a share of the training examples, as in"),
        (["--hlep"], 2, "did you mean '--help'"),
        (["resume=runs/none"], 4, "there is no tuning to resume"),
        (["resume=runs/none", "rounds=3"], 2, "a tuning that is continued is the same"),
        ([*WORDS, "name=a/b"], 2, "must be the name of one folder"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_leave_nothing(
    words: list[str], status: int, text: str, capsys: Any
) -> None:
    assert tune.main(words) == status
    said = capsys.readouterr().err
    assert text in said
    assert said.count("\n") == 1
    assert not Path("runs").exists()


def test_a_folder_with_a_tuning_or_something_else_is_refused(capsys: Any) -> None:
    words = ["strategy=fedavg", "strategy.lr=0.1,0.2", "seed=0", "report_seed=7", *QUADRATIC, "name=t"]
    assert tune.main(words) == 0
    assert tune.main(words) == 4
    assert "Continue it with resume=runs/t" in capsys.readouterr().err
    Path("runs/u").mkdir()
    Path("runs/u/letter").write_text("dear")
    assert tune.main([*words, "name=u"]) == 4


def test_a_run_that_is_not_of_this_tuning_is_refused(capsys: Any) -> None:
    words = ["strategy=fedavg", "strategy.lr=0.1,0.2", "seed=0", "report_seed=7", *QUADRATIC, "name=t"]
    assert tune.main(words) == 0
    config = Path("runs/t/trials/fedavg-1-s0/config.yaml")
    config.write_text(config.read_text().replace("rounds: 3", "rounds: 4"))
    assert tune.main(["resume=runs/t"]) == 4
    assert "rounds=4 -> 3" in capsys.readouterr().err


def test_a_tuning_of_other_versions_is_not_continued(capsys: Any) -> None:
    words = ["strategy=fedavg", "strategy.lr=0.1,0.2", "seed=0", "report_seed=7", *QUADRATIC, "name=t"]
    assert tune.main(words) == 0
    file = Path("runs/t/tuned.json")
    file.write_text(file.read_text().replace('"torch": "', '"torch": "1.'))
    assert tune.main(["resume=runs/t"]) == 4
    assert "was begun with torch 1." in capsys.readouterr().err
    file.write_text("{}")
    assert tune.main(["resume=runs/t"]) == 4
    assert "damaged" in capsys.readouterr().err


def test_workers_are_kept_through_a_tuning_also_where_a_setting_diverges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fedsparse.engine import local

    made = []

    class Counted(local.LocalPool):
        def __init__(self, workers: int) -> None:
            made.append(workers)
            super().__init__(workers)

    monkeypatch.setattr(local, "LocalPool", Counted)
    words = ["strategy=fedavg", "strategy.lr=1e80,0.1", "seed=0", "report_seed=7", *QUADRATIC]
    assert tune.main([*words, "engine.workers=2"]) == 0
    assert made == [2]


def test_help_of_a_topic_is_about_it(capsys: Any) -> None:
    assert tune.main(["--help", "select", "strategy=scafcom"]) == 0
    text = capsys.readouterr().out
    assert "bytes_to_target" in text
    assert "strategy.beta" in text


def test_help_names_every_key_of_its_own(capsys: Any) -> None:
    assert tune.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(key in text for key in ("seed", "report_seed", "select", "metric", "budget", "resume=FOLDER"))


def test_a_validation_part_of_a_problem_is_refused_before_a_folder_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["strategy=fedavg", "strategy.lr=0.1,0.2", "data=quadratic", "validation=0.1", f"runs={tmp_path}"]
    assert tune.main([*words, "name=here"]) == 2
    assert "no examples to hold back" in capsys.readouterr().err
    assert not (tmp_path / "here").exists()
