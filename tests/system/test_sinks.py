"""Figures of a run in TensorBoard and MLflow, and a clear word where these are not installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from fedsparse import run
from fedsparse.config import parse
from fedsparse.errors import ConfigError, Interrupted
from fedsparse.recorded import run as recorded
from fedsparse.runfolder import read_rounds
from fedsparse.sinks import NAMES, named, require

COMMON = [
    "clients=20",
    "rounds=3",
    "eval_every=1",
    "engine=local",
    "engine.workers=1",
    "quiet=true",
    "name=r",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_a_sink_that_does_not_exist_is_refused(here: Path):
    with pytest.raises(
        ConfigError, match="sinks=tensorbord: there is no such sink; did you mean 'tensorboard'"
    ):
        parse(["sinks=tensorbord"])


def test_one_sink_needs_no_brackets():
    assert named(parse(["sinks=mlflow"]).sinks) == ["mlflow"]
    assert named(parse(["sinks=[mlflow,tensorboard,mlflow]"]).sinks) == ["mlflow", "tensorboard"]
    assert named(parse([]).sinks) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_package_is_said_before_anything_is_made(
    here: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("fedsparse.sinks.base.find_spec", lambda package: None)
    assert run.main([*COMMON, f"sinks={name}"]) == 2
    assert f"pip install 'fedsparse[{name}]'" in capsys.readouterr().err
    assert not (here / "runs").exists()


def accuracies() -> list[float]:
    return [record["metrics"]["accuracy"] for record in read_rounds(Path("runs/r"))]


def test_tensorboard_has_every_round_also_after_a_resume(here: Path):
    pytest.importorskip("tensorboard", reason="needs tensorboard: pip install 'fedsparse[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    stopped_after_two_rounds("tensorboard")
    found = EventAccumulator("runs/r/tensorboard").Reload()
    scalars = found.Scalars("accuracy")
    assert [event.step for event in scalars] == [1, 2, 3]
    assert [event.value for event in scalars] == pytest.approx(accuracies())
    assert [event.step for event in found.Scalars("by_kB_up/accuracy")] == [
        sum(record["traffic_total"][f"up_{part}_bytes"] for part in ("payload", "header")) // 1000
        for record in read_rounds(Path("runs/r"))
    ]


def test_mlflow_has_every_round_also_after_a_resume(here: Path):
    pytest.importorskip("mlflow", reason="needs mlflow: pip install 'fedsparse[mlflow]'")
    from mlflow import MlflowClient

    stopped_after_two_rounds("mlflow")
    client = MlflowClient(Path("runs/r/mlflow").resolve().as_uri())
    experiment_id = client.get_experiment_by_name("fedsparse").experiment_id
    (found,) = client.search_runs([experiment_id])
    assert found.data.params["clients"] == "20"
    assert found.info.status == "FINISHED"
    steps = {metric.step: metric.value for metric in client.get_metric_history(found.info.run_id, "accuracy")}
    assert list(steps.values()) == accuracies()


def stopped_after_two_rounds(sink: str) -> None:
    """A run that is interrupted in its second round, and resumed."""
    text = '''
import os, signal
from dataclasses import dataclass
from fedsparse.strategies.fedavg import FedAvg


@dataclass(frozen=True)
class Stopped(FedAvg):
    """FedAvg, interrupted."""

    def aggregate(self, server, inbox, ctx):
        if ctx.round == 1 and not os.path.exists("stopped"):
            open("stopped", "w").close()
            os.kill(os.getpid(), signal.SIGINT)
        return super().aggregate(server, inbox, ctx)
'''
    Path("stopping.py").write_text(text)
    with pytest.raises(Interrupted):
        recorded(parse([*COMMON, "strategy=stopping.py", f"sinks={sink}"]))
    recorded(parse(["resume=runs/r", "quiet=true"]))


def test_require_takes_no_sinks(here: Path):
    require([])
    assert importlib.util.find_spec("fedsparse.sinks.mlflow") is not None
