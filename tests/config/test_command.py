"""The command: help, exit statuses, sweeps that go on."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from fedsparse import run
from fedsparse.config import GROUPS, RunConfig, from_yaml, parse
from fedsparse.errors import DataError, Interrupted, WorkerLost
from fedsparse.summary import Summary

SUMMARY = Summary(
    rounds=3,
    virtual_s=1.5,
    up_bytes=2_000,
    down_bytes=4_000,
    ratio=2.0,
    traffic={},
    gradient_calls=1,
    examples=1,
    final={"accuracy": 0.5},
    best={"accuracy": 0.6},
    metric="accuracy",
    target=None,
    reached=None,
    wall_s=0.1,
)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """The configurations that were run; strategy=fedprox fails, and seed=13 is interrupted."""
    import fedsparse.recorded

    seen: list[RunConfig] = []

    def fake(config: RunConfig, **_: Any) -> Summary:
        seen.append(config)
        if config.strategy.name == "fedprox":
            raise WorkerLost("three workers\n died")
        if config.seed == 13:
            raise Interrupted("stopped")
        if config.seed == 14:
            raise KeyboardInterrupt
        if config.seed == 15:
            raise ZeroDivisionError("oops")
        return SUMMARY

    monkeypatch.setattr(fedsparse.recorded, "run", fake)
    return seen


def test_a_run_gets_the_configuration_and_ends_with_zero(started: list[RunConfig], capsys: Any) -> None:
    assert run.main(["strategy=scafcom", "clients=20"]) == 0
    assert started == [parse(["strategy=scafcom", "clients=20"])]
    assert "accuracy" in capsys.readouterr().out


def test_an_error_of_ours_is_one_line_and_its_status(started: list[RunConfig], capsys: Any) -> None:
    assert run.main(["strategy=fedprox"]) == WorkerLost.exit_status
    assert capsys.readouterr().err == "fedsparse: three workers died\n"


def test_verbose_shows_the_traceback(started: list[RunConfig], capsys: Any) -> None:
    assert run.main(["-v", "strategy=fedprox"]) == WorkerLost.exit_status
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_shows_its_traceback_and_is_not_zero(started: list[RunConfig], capsys: Any) -> None:
    assert run.main(["seed=15"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_ctrl_c_is_130(started: list[RunConfig]) -> None:
    assert run.main(["seed=14"]) == 130


@pytest.mark.parametrize(
    "line", ["clinets=3", "strategy=scafcon", "--clients=3", "--hlep", "-x", "cohort=101"]
)
def test_mistakes_are_one_line_with_status_two_before_anything_runs(
    line: str, started: list[RunConfig], capsys: Any
) -> None:
    assert run.main([line]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), started) == ("", 1, [])


def test_a_flag_for_a_key_says_how_to_write_it(capsys: Any) -> None:
    run.main(["--clients=3"])
    assert "write clients=3" in capsys.readouterr().err


def test_a_sweep_goes_on_after_a_failure_and_ends_with_its_status(
    started: list[RunConfig], capsys: Any
) -> None:
    status = run.main(["-m", "strategy=fedprox,scafcom,fedavg"])
    out, err = capsys.readouterr()
    assert status == WorkerLost.exit_status
    assert [config.strategy.name for config in started] == ["fedprox", "scafcom", "fedavg"]
    assert "three workers died" in err
    assert "failed" in out
    assert "accuracy 0.5" in out


@pytest.mark.parametrize("seed", [13, 14])
def test_an_interrupted_sweep_stops(seed: int, started: list[RunConfig], capsys: Any) -> None:
    assert run.main(["-m", f"seed={seed},1,2"]) == 130
    assert len(started) == 1


def test_cfg_prints_the_configuration_and_runs_nothing(started: list[RunConfig], capsys: Any) -> None:
    assert run.main(["--cfg", "strategy=scafcom"]) == 0
    assert from_yaml(capsys.readouterr().out) == parse(["strategy=scafcom"])
    assert started == []


def test_errors_of_data_have_their_own_status(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    import fedsparse.recorded

    def missing(config: RunConfig, **_: Any) -> Summary:
        raise DataError("no such file")

    monkeypatch.setattr(fedsparse.recorded, "run", missing)
    assert run.main([]) == DataError.exit_status


def _outcome(*arguments: str) -> dict[str, Any]:
    """Runs the command in a process of its own: its status, its output, and which modules were imported."""
    code = (
        "import sys, json, io, contextlib; from fedsparse.run import main; out = io.StringIO()\n"
        "with contextlib.redirect_stdout(out): status = main(sys.argv[1:])\n"
        "loaded = [m for m in ('torch', 'ray', 'flwr', 'matplotlib') if m in sys.modules]\n"
        "print(json.dumps({'status': status, 'loaded': loaded, 'out': out.getvalue()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def test_help_imports_neither_torch_nor_ray() -> None:
    outcome = _outcome("--help")
    assert (outcome["status"], outcome["loaded"]) == (0, [])
    assert all(key in outcome["out"] for key in (*GROUPS, "clients", "faults.uplink_loss", "-m, --multirun"))


def test_mistakes_in_keys_names_and_values_import_neither_torch_nor_ray() -> None:
    for line in ("clinets=3", "strategy=scafcon", "clients=0"):
        outcome = _outcome(line)
        assert (outcome["status"], outcome["loaded"]) == (2, [])


@pytest.mark.parametrize(
    ("topic", "parts"),
    [
        (
            "strategy=scafcom",
            ["SCAFCOM (Huang", "strategy.beta", "momentum weight", "by default topk", "block_topk"],
        ),
        ("uplink=topk", ["uplink.fraction", "above 0 and at most 1"]),
        ("data=digits", ["digits"]),
        ("partition=dirichlet", ["partition.alpha", "concentration"]),
        ("model=mlp", ["model.hidden", "[200]"]),
        ("network=lognormal", ["network.up_spread", "Mbit/s"]),
        ("engine=ray", ["engine.address"]),
        ("strategy", ["scafcom", "fedavg"]),
        ("faults", ["faults.dropout"]),
        ("clients", ["registered clients"]),
    ],
)
def test_help_of_a_topic_says_all_about_it(topic: str, parts: list[str], capsys: Any) -> None:
    assert run.main(["--help", topic]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert [part for part in parts if part not in text] == []


@pytest.mark.parametrize("topic", ["strategy=scafcon", "strateggy", "clinets"])
def test_help_of_an_unknown_topic_names_the_nearest(topic: str, capsys: Any) -> None:
    assert run.main(["--help", topic]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_every_member_of_every_group_has_help(capsys: Any) -> None:
    for key, group in GROUPS.items():
        for name in group.names():
            assert run.main(["--help", f"{key}={name}"]) == 0
    assert "Traceback" not in capsys.readouterr().err
