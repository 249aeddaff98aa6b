"""A run of gossip that is stopped or killed in any round, and resumed, ends with the bits of the undisturbed run."""

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedsparse import checkpoint, config, recorded
from fedsparse.errors import Interrupted
from fedsparse.records import Record, without_wall
from fedsparse.runfolder import read_rounds

ROUNDS = 4
STRATEGY = '''
"""CHOCO-SGD that is stopped by a signal when clients have heard their neighbours, once."""

import os
from dataclasses import dataclass
from pathlib import Path

from fedsparse.options import option
from fedsparse.strategies.choco import Choco


@dataclass(frozen=True)
class Stopped(Choco):
    """See above."""

    stop: int = option(-1, "round that is the last one", at_least=-1)
    number: int = option(2, "signal")
    marker: str = option("", "file that says that it has happened")

    def aggregate(self, client, inbox, ctx):
        if ctx.round == self.stop and not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), self.number)
        return super().aggregate(client, inbox, ctx)
'''


def words(folder: Path, *more: str) -> list[str]:
    path = folder / "stopped.py"
    path.write_text(STRATEGY)
    return [
        f"strategy={path}", "topology=ring", "clients=8", f"rounds={ROUNDS}", "batch=8", "model.hidden=[16]",
        "uplink=topk", "uplink.fraction=0.1", "faults.link_loss=0.3", "faults.dropout=0.2", "init=independent",
        "network=lognormal", "engine=local", "engine.workers=1", "quiet=true", "eval_every=2", "checkpoint_every=1",
        f"runs={folder}", "name=run", *more,
    ]  # fmt: skip


def stopping(folder: Path, stop: int, number: int) -> list[str]:
    options = {"stop": stop, "number": int(number), "marker": folder / "marker"}
    return words(folder, *(f"strategy.{key}={value}" for key, value in options.items()))


def fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    _, arrays = checkpoint.read(max((folder / "run" / "checkpoint").iterdir()))
    assert len(arrays["backlog.q.links"]) > 0  # something is owed, so that it has to be kept
    for name in sorted(arrays):
        digest.update(name.encode() + arrays[name].tobytes())
    digest.update(repr([without_wall(Record.of(r)) for r in read_rounds(folder / "run")]).encode())
    digest.update((folder / "run" / "model.safetensors").read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("whole")
    recorded.run(config.parse(words(folder)))
    return fingerprint(folder)


def test_a_run_that_was_stopped_goes_on_with_any_number_of_workers(tmp_path: Path, undisturbed: str) -> None:
    with pytest.raises(Interrupted, match=r"go on with: python -m fedsparse\.run resume="):
        recorded.run(config.parse(stopping(tmp_path, 1, signal.SIGINT)))
    recorded.run(config.parse([f"resume={tmp_path / 'run'}", "engine.workers=2"]))
    assert fingerprint(tmp_path) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", range(ROUNDS))
def test_a_run_killed_while_it_mixes_goes_on_to_the_same_bits(
    kill_at: int, tmp_path: Path, undisturbed: str
) -> None:
    command = [sys.executable, "-m", "fedsparse.run", *stopping(tmp_path, kill_at, signal.SIGKILL)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
    recorded.run(config.parse([f"resume={tmp_path / 'run'}"]))
    assert fingerprint(tmp_path) == undisturbed
