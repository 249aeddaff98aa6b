"""CONTRIBUTING.md tells the truth: its files are written down, its commands are run, and what it promises happens."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fedsparse.registry import by_path, topologies
from fedsparse.testing import CHECKS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def files() -> dict[str, str]:
    """The blocks that have a title, by title."""
    return dict(re.findall(r'^```python title="(.+?)"\n(.*?)^```$', TEXT, re.MULTILINE | re.DOTALL))


def commands() -> list[str]:
    """The lines of the shell blocks behind the set-up."""
    added = TEXT[TEXT.index("\n## Add a strategy") :]
    blocks = re.findall(r"^```sh\n(.*?)^```$", added, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def run(folder: Path, start: str) -> str:
    """The output of the one command that starts so."""
    (line,) = [command for command in commands() if command.startswith(start)]
    done = subprocess.run(
        [sys.executable, *shlex.split(line)[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in files().items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


def accuracy(folder: Path, name: str) -> float:
    last = (folder / "runs" / name / "rounds.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    return json.loads(last)["metrics"]["accuracy"]


@pytest.mark.slow
def test_the_strategy_passes_every_check(folder: Path):
    words = run(folder, "python -m fedsparse.check").split()
    assert words.count("passed") == len(CHECKS)
    assert "failed" not in words


@pytest.mark.slow
def test_the_strategy_trains(folder: Path):
    run(folder, "python -m fedsparse.run strategy=fedexp.py")
    assert accuracy(folder, "fedexp") > 0.8


@pytest.mark.slow
def test_the_strategys_own_tests_pass(folder: Path):
    assert "2 passed" in run(folder, "python -m pytest")


def test_one_of_each_kind_goes_together(folder: Path):
    run(folder, "python -m fedsparse.run strategy=fed_ef")
    assert accuracy(folder, "rings") > 0.9


def test_the_topology_is_found_and_described(folder: Path):
    wheel = topologies.get(f"{folder / 'mine.py'}:Wheel")
    assert sorted(wheel().graph(6)) == list(range(6))
    # 16 clients of the ring with two neighbours each, 4 of them with a third; client 0 has 4.
    assert "2 to 4, 2.35 on average" in run(folder, "python -m fedsparse.topology")


def test_the_compressor_is_as_contractive_as_it_says(folder: Path):
    import torch

    from fedsparse.rng import Streams

    rtopk = by_path("uplink", f"{folder / 'mine.py'}:RTopK", lambda found, _: found)
    x = torch.linspace(-1, 2, 50).expand(4000, -1)

    class Draws:
        def rng(self, purpose: str) -> Streams:
            return Streams(0, purpose, 0, range(len(x)))

    compressor = rtopk(fraction=0.1)
    error = (compressor.compress(x, Draws()).dense() - x).square().sum(1).mean()
    assert error <= (1 - compressor.delta(50)) * x[0].square().sum()


def test_every_command_is_run_here():
    assert len(commands()) == 5


def test_the_places_that_it_names_exist():
    named = set(re.findall(r"`((?:fedsparse|tests|strategies|topologies)/[\w/.]*)`", TEXT)) - {
        "strategies/fedexp.py"
    }
    assert [name for name in named if not (ROOT / name).exists()] == []
