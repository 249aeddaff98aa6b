"""The experiments of gossip: they run, go on where they were, and their results are stored."""

import re
from pathlib import Path

import pytest

from experiments.gossip import study
from experiments.gossip.study import NAMES, RESULTS, Study

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = {"variance": ["data=digits", "model=mlp"], "methods": ["data=digits"]}
"""Words that let an experiment run on data that comes with the package."""


def rows(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_quick_run_writes_everything_and_is_not_run_again(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [name, *EMBEDDED[name], "--quick", "--runs", str(tmp_path / "runs"), "--results", str(tmp_path)]
    assert study.main(command) == 0
    first, shown = (tmp_path / f"{name}.csv").read_text(), capsys.readouterr().out
    assert rows(shown) == rows((tmp_path / f"{name}.md").read_text())
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    ended = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("rounds.jsonl")}
    assert len(ended) == len(rows(shown))
    assert study.main(command) == 0
    assert (tmp_path / f"{name}.csv").read_text() == first
    assert {path: path.stat().st_mtime_ns for path in ended} == ended


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_results_are_of_what_the_file_asks_for(name: str) -> None:
    asked = Study.named(name)
    wanted = [(p.label, arm.label) for p in asked.panels for arm in asked.arms if p.label not in arm.without]
    stored = rows((RESULTS / f"{name}.md").read_text(encoding="utf-8"))
    assert [(row[0], row[1]) for row in stored] == wanted
    assert all(("(" in row[2]) == (len(asked.seeds) > 1) for row in stored)
    assert {(RESULTS / f"{name}.{kind}").exists() for kind in ("csv", "png", "svg")} == {True}


def test_corrected_averages_learn_where_plain_ones_do_not() -> None:
    """As stored: the claim of the experiment."""
    found = {row[1]: float(row[2].split()[0]) for row in rows((RESULTS / "variance.md").read_text())}
    assert found["plain averages"] < 0.2
    assert found["variance-corrected"] > 0.7
    assert abs(found["variance-corrected"] - found["plain averages, common start"]) < 0.05


def test_the_commands_of_the_results_are_those_of_the_experiments() -> None:
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"experiments\.gossip\.study (\w+)", text) == list(NAMES)
