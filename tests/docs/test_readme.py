"""README.md and docs/ are run: every command and every block of Python, in a folder of its own; docs/ as slow tests."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documents import DOCUMENTS, README, Block, between, blocks, files

from fedsparse import run
from fedsparse.runfolder import read_rounds, read_summary

STOPPED = '''
"""FedAvg that is interrupted in its third round."""

import os
import signal
from dataclasses import dataclass

from fedsparse.strategies.fedavg import FedAvg


@dataclass(frozen=True)
class Stopped(FedAvg):
    """See above."""

    def aggregate(self, server, inbox, ctx):
        if ctx.round == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return super().aggregate(server, inbox, ctx)
'''

SHELL = [block for document in DOCUMENTS for block in blocks(document, "sh")]
PYTHON = [
    pytest.param(b, id=str(b), marks=[] if document == README else pytest.mark.slow)
    for document in DOCUMENTS
    for b in blocks(document, "python")
    if not b.title
]


def is_setup(words: list[str]) -> bool:
    """Installation, and the whole test suite: their form is checked, they are not run."""
    return words[:2] == ["pip", "install"] or words[:3] == ["python", "-m", "pytest"]


def starts_ray(words: list[str]) -> bool:
    simulates = words[:3] == ["python", "-m", "fedsparse.run"]
    return (
        simulates
        and not {"--help", "--cfg", "engine=local"} & set(words)
        and "resume=" not in " ".join(words)
    )


def cases() -> Iterator[Any]:
    for block in SHELL[1:]:  # the first one has a test of its own
        commands = [words for words in block.commands if not is_setup(words)]
        every = [word for words in commands for word in words]
        if not commands or "resume=runs/NAME" in every:
            continue  # so has this one
        marks = [pytest.mark.ray] if any(map(starts_ray, commands)) else []
        experiment = any(words[2:3] == ["fedsparse.experiment"] for words in commands)
        long = experiment or (marks and not any(word.startswith("rounds=") for word in every))
        if long or block.document != README or "data_dir=data" in every:
            marks.append(pytest.mark.slow)
        yield pytest.param(block, commands, id=str(block), marks=marks)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the files that the README shows; the present one, from which modules are imported."""
    for name, text in files(README).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def data_folder(folder: Path, words: list[str]) -> None:
    """Makes ``data`` the user's folder of data sets; nothing is downloaded."""
    root = os.environ.get("FEDSPARSE_DATA")
    if not root:
        pytest.skip("needs data sets: set FEDSPARSE_DATA to their folder")
    named = [word.removeprefix("data=") for word in words if word.startswith("data=")] or [words[3]]
    if not (Path(root) / named[0]).is_dir():
        pytest.skip(f"FEDSPARSE_DATA={root} has no {named[0]}")
    if not (folder / "data").exists():
        (folder / "data").symlink_to(root)


def executed(words: list[str]) -> int:
    """The exit status of ``python -m MODULE ...``, in this process, as starting Python takes most of the time."""
    assert words[:2] == ["python", "-m"], words
    module = importlib.import_module("fedsparse.data.__main__" if words[2] == "fedsparse.data" else words[2])
    return int(module.main(words[3:]))


@pytest.mark.parametrize(("block", "commands"), list(cases()))
def test_the_commands_work(block: Block, commands: list[list[str]], folder: Path) -> None:
    for words in commands:
        if "data_dir=data" in words:
            data_folder(folder, words)
        if starts_ray(words):
            subprocess.run([sys.executable, *words[1:]], cwd=folder, check=True, timeout=300)
        else:
            assert executed(words) == 0, words


@pytest.mark.parametrize("block", PYTHON)
def test_the_python_prints_what_the_document_says(block: Block, folder: Path) -> None:
    code = compile(block.text, str(block), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, {"__name__": "__main__"})  # noqa: S102 - it is our own document
    said = next(later.text for later in blocks(block.document, "text") if later.line > block.line)
    assert out.getvalue() == said


def test_an_interrupted_run_says_the_command_that_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (command,) = [words for block in SHELL for words in block.commands if "resume=runs/NAME" in words]
    (folder / "stopped.py").write_text(STOPPED, encoding="utf-8")
    status = run.main(["strategy=stopped.py", "rounds=5", "name=NAME", "engine=local", "engine.workers=1"])
    assert status == 130
    assert " ".join(command) in capsys.readouterr().err
    assert read_summary(folder / "runs/NAME") is None
    assert executed(command) == 0
    assert [record["round"] for record in read_rounds(folder / "runs/NAME")] == [0, 1, 2, 3, 4]


def test_the_first_block_installs_and_runs_the_main_job() -> None:
    first = blocks(README, "sh")[0].text
    assert (
        first
        == "pip install -c constraints.txt -e . && python -m fedsparse.run strategy=scafcom clients=100\n"
    )


def test_the_second_block_installs_and_tests() -> None:
    assert blocks(README, "sh")[1].text == "pip install -c constraints.txt -e '.[test]' && python -m pytest\n"


@pytest.mark.ray
@pytest.mark.slow
def test_the_main_job_ends_with_the_table_that_is_shown(folder: Path) -> None:
    words = blocks(README, "sh")[0].commands[1]
    done = subprocess.run(
        [sys.executable, *words[1:]], cwd=folder, capture_output=True, text=True, check=True, timeout=300
    )
    shown, real = (table(text) for text in (between(README, "main"), done.stdout))
    assert shown.keys() == real.keys()
    for line in ("rounds", "bytes up", "bytes down", "network time"):
        assert numbers(real[line]) == pytest.approx(numbers(shown[line]), rel=0.01)
    # On another processor sums are rounded differently, and a picture or two may be read differently.
    assert numbers(real["accuracy"]) == pytest.approx(numbers(shown["accuracy"]), abs=0.03)


def table(text: str) -> dict[str, str]:
    """The lines of the table at the end of a run."""
    return dict(re.findall(r"^│ (.+?) +│ +(.+?) │$", text, re.MULTILINE))


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]
