"""A run that is stopped after any round, or killed in any, and resumed ends with the bits of the undisturbed run."""

import hashlib
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from fedsparse import checkpoint, config, recorded
from fedsparse.errors import CheckpointError, Interrupted, RunFolderError
from fedsparse.records import Record, without_wall
from fedsparse.runfolder import read_rounds

MODELS = {
    "mlp": ["model=mlp", "model.hidden=[16]"],
    "cnn": ["model=cnn", "model.width=2", "model.hidden=8"],
    "resnet": ["model=resnet", "model.width=4", "model.norm=batch"],
}
if torch.cuda.is_available():
    MODELS["accelerator"] = [*MODELS["cnn"], "device=cuda"]
ROUNDS = 4
COMMON = [
    "clients=20",
    "cohort=5",
    f"rounds={ROUNDS}",
    "batch=8",
    "engine=local",
    "engine.workers=1",
    "quiet=true",
    "downlink=topk",
    "downlink.fraction=0.1",
    "faults.uplink_loss=0.2",
    "eval_every=2",
]

STRATEGY = '''
"""SCAFCOM that is stopped by a signal at the end of a round, once."""

import os
from dataclasses import dataclass
from pathlib import Path

from fedsparse.options import option
from fedsparse.strategies.scafcom import Scafcom


@dataclass(frozen=True)
class Stopped(Scafcom):
    """See above."""

    stop: int = option(-1, "round that is the last one", at_least=-1)
    number: int = option(2, "signal")
    marker: str = option("", "file that says that it has happened")

    def aggregate(self, server, inbox, ctx):
        if ctx.round == self.stop and not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), self.number)
        return super().aggregate(server, inbox, ctx)
'''


@pytest.fixture(scope="module")
def strategy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("strategy") / "stopped.py"
    path.write_text(STRATEGY)
    return path


def arguments(model: str, strategy: Path, folder: Path, *more: str) -> list[str]:
    return [f"strategy={strategy}", *MODELS[model], *COMMON, f"runs={folder}", "name=run", *more]


def stopping(
    model: str, strategy: Path, folder: Path, stop: int, number: int = signal.SIGINT, *more: str
) -> list[str]:
    options = [
        f"strategy.stop={stop}",
        f"strategy.number={int(number)}",
        f"strategy.marker={folder / 'marker'}",
    ]
    return arguments(model, strategy, folder, *options, *more)


def fingerprint(folder: Path) -> str:
    """The last checkpoint's arrays, the records without wall times, and the model."""
    digest = hashlib.sha256()
    newest = max((folder / "checkpoint").iterdir())
    _, arrays = checkpoint.read(newest)
    for name in sorted(arrays):
        digest.update(name.encode() + arrays[name].tobytes())
    digest.update(repr([without_wall(Record.of(r)) for r in read_rounds(folder)]).encode())
    digest.update((folder / "model.safetensors").read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def undisturbed(strategy: Path, tmp_path_factory: pytest.TempPathFactory):
    @cache
    def of(model: str) -> str:
        folder = tmp_path_factory.mktemp(model)
        recorded.run(config.parse(arguments(model, strategy, folder)))
        return fingerprint(folder / "run")

    return of


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=[pytest.mark.slow] if name != "mlp" else []) for name in MODELS]
)
@pytest.mark.parametrize("stop", range(ROUNDS - 1))
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_after_any_round_goes_on_to_the_same_bits(
    model: str, stop: int, number: int, strategy: Path, tmp_path: Path, undisturbed
) -> None:
    with pytest.raises(Interrupted, match=r"go on with: python -m fedsparse.run resume="):
        recorded.run(config.parse(stopping(model, strategy, tmp_path, stop, number)))
    assert len(read_rounds(tmp_path / "run")) == stop + 1
    recorded.run(config.parse([f"resume={tmp_path / 'run'}"]))
    assert fingerprint(tmp_path / "run") == undisturbed(model)


def test_a_resumed_run_may_use_another_number_of_workers(strategy: Path, tmp_path: Path, undisturbed) -> None:
    with pytest.raises(Interrupted):
        recorded.run(config.parse(stopping("mlp", strategy, tmp_path, 1)))
    recorded.run(config.parse([f"resume={tmp_path / 'run'}", "engine.workers=2"]))
    assert fingerprint(tmp_path / "run") == undisturbed("mlp")


def test_a_checkpoint_of_another_configuration_is_refused_with_the_keys(
    strategy: Path, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        recorded.run(config.parse(stopping("mlp", strategy, tmp_path, 1)))
    file = tmp_path / "run" / "config.yaml"
    file.write_text(file.read_text().replace("seed: 0", "seed: 5"))
    with pytest.raises(CheckpointError, match=r"seed"):
        recorded.run(config.parse([f"resume={tmp_path / 'run'}"]))


def test_a_finished_run_is_not_run_again(strategy: Path, tmp_path: Path) -> None:
    recorded.run(config.parse(arguments("mlp", strategy, tmp_path)))
    with pytest.raises(RunFolderError, match="finished"):
        recorded.run(config.parse([f"resume={tmp_path / 'run'}"]))


@pytest.mark.parametrize("lost", [0, 1])
def test_a_run_that_lost_lines_of_its_records_is_not_resumed(
    lost: int, strategy: Path, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        recorded.run(config.parse(stopping("mlp", strategy, tmp_path, 1)))
    file = tmp_path / "run" / "rounds.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:lost] + lines[lost + 1 :]))
    with pytest.raises(RunFolderError, match="lines were lost"):
        recorded.run(config.parse([f"resume={tmp_path / 'run'}"]))


def test_a_run_that_lost_the_record_of_its_first_round_is_not_run_twice(
    strategy: Path, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        recorded.run(config.parse(stopping("mlp", strategy, tmp_path, 0)))
    (tmp_path / "run" / "rounds.jsonl").write_text("")
    with pytest.raises(RunFolderError, match="lines were lost"):
        recorded.run(config.parse([f"resume={tmp_path / 'run'}"]))


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", range(ROUNDS))
def test_a_run_killed_in_any_round_goes_on_to_the_same_bits(
    kill_at: int, strategy: Path, tmp_path: Path, undisturbed
) -> None:
    killed = stopping("mlp", strategy, tmp_path, kill_at, signal.SIGKILL, "checkpoint_every=1")
    done = subprocess.run([sys.executable, "-m", "fedsparse.run", *killed], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    recorded.run(config.parse([f"resume={tmp_path / 'run'}"]))
    assert fingerprint(tmp_path / "run") == undisturbed("mlp")


@pytest.mark.slow
def test_a_second_signal_ends_the_run_at_once_and_leaves_no_memory_behind(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "fedsparse.run",
        "strategy=fedavg",
        "rounds=100000",
        "engine=local",
        "name=run",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("round"):
                break
        running.send_signal(signal.SIGSTOP)  # both signals are pending when it goes on
        running.send_signal(signal.SIGINT)
        running.send_signal(signal.SIGTERM)
        running.send_signal(signal.SIGCONT)
        assert running.wait(timeout=60) in {128 + signal.SIGINT, 128 + signal.SIGTERM}
        assert not list(Path("/dev", "shm").glob(f"fedsparse-state-*-{running.pid}-*"))
    assert not (tmp_path / "runs" / "run" / "summary.json").exists()
