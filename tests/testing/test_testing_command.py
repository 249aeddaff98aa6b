"""``python -m fedsparse.check``: what it prints and how it ends."""

import subprocess
import sys

import pytest

from fedsparse import check
from fedsparse.registry import Registry, strategies
from fedsparse.testing import CHECKS

BROKEN = """
from dataclasses import dataclass
from fedsparse.strategies.fedavg import FedAvg


@dataclass(frozen=True)
class Mine(FedAvg):
    theory = None
"""


def test_a_sound_strategy_ends_with_0_and_a_line_for_each_check(capsys):
    assert check.main(["strategy=fedavg"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [[name, "passed"] for name in CHECKS]


def test_a_failed_check_ends_with_1(tmp_path, capsys):
    file = tmp_path / "mine_without_docstring.py"
    file.write_text(BROKEN)
    assert check.main([f"strategy={file}"]) == 1
    assert "documented     failed   Mine has no docstring" in capsys.readouterr().out


def test_an_unknown_strategy_ends_with_2_and_one_line(capsys):
    assert check.main(["strategy=fedavgg"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("fedsparse: strategy=fedavgg: no such strategy; did you mean 'fedavg'?")
    assert shown.err.count("\n") == 1


def test_options_are_those_of_a_run(capsys):
    assert check.main(["strategy=scafcom", "strategy.lr=0.05", "uplink=sign"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "which strategy?"),
        (["fedavg"], "fedavg: must be strategy=NAME"),
        (["strategy=fedavg", "rounds=3"], "rounds=3: must be strategy=NAME"),
        (["strategy=all", "strategy.lr=0.1"], "strategy=all: takes no options"),
        (["strategy=fedavg", "strategy.lr=0"], "strategy.lr=0"),
    ],
)
def test_wrong_arguments_end_with_2(arguments, words, capsys):
    assert check.main(arguments) == 2
    assert words in capsys.readouterr().err


def test_help_says_how_it_is_called(capsys):
    assert check.main(["--help"]) == 0
    assert "strategy=NAME" in capsys.readouterr().out


def test_verbose_shows_the_traceback(capsys):
    assert check.main(["-v", "strategy=nope"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_help_does_not_wait_for_torch():
    code = "import sys; from fedsparse.check import main; main(['-h']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_a_plug_in_that_cannot_be_imported_does_not_hide_the_others(monkeypatch, capsys):
    monkeypatch.setattr(Registry, "names", lambda _: ["no_such_module", "topk"])
    assert check.main(["strategy=all"]) == 1
    shown = capsys.readouterr().out
    assert "import  failed  strategy=no_such_module: no such strategy" in shown
    assert "topk (NaiveTopK)" in shown
    assert shown.endswith("failed: no_such_module\n")


def test_all_strategies_are_checked(monkeypatch, capsys):
    # With one check of each: test_testing_strategies has them all.
    for name in set(CHECKS) - {"dataclass"}:
        monkeypatch.delitem(CHECKS, name)
    assert check.main(["strategy=all"]) == 0
    assert capsys.readouterr().out.count("dataclass ") == len(strategies.names())
