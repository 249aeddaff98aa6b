"""The comparison of compressed methods: it runs, goes on where it was, judges its bars, and its results are stored."""

import math
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from experiments.compressed import a9a, toys
from experiments.compressed.toys import NAMES, RESULTS, Method, Toy
from experiments.curves import Curve

ROOT = Path(__file__).resolve().parents[2]

by_name = pytest.mark.parametrize("name", NAMES)


def cells(table: str) -> list[list[str]]:
    """The rows of a table of Markdown below its head."""
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs and the results of a quick command."""
    folder = tmp_path_factory.mktemp("quick")
    command = ["bilinear", "--quick", "--runs", str(folder / "runs"), "--results", str(folder / "results")]
    assert toys.main(command) == 0
    return folder


def assert_shown(name: str, results: Path) -> None:
    found = cells((results / f"{name}.md").read_text())
    assert [row[0] for row in found] == [method.label for method in Toy.named(name).methods]
    assert {row[-1] for row in found} == {"", "not judged"}
    assert (results / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in (results / f"{name}.svg").read_text()
    assert len((results / f"{name}.csv").read_text().splitlines()) > 2 * len(found)


def test_a_quick_run_writes_a_table_a_picture_and_numbers_and_judges_nothing(quick: Path) -> None:
    assert_shown("bilinear", quick / "results")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quadratic", "saddle"])
def test_the_other_quick_runs_do_so_too(name: str, tmp_path: Path) -> None:
    assert toys.main([name, "--quick", "--runs", str(tmp_path / "runs"), "--results", str(tmp_path)]) == 0
    assert_shown(name, tmp_path)


def test_what_has_run_is_not_run_again_and_gives_the_same_files(quick: Path, tmp_path: Path) -> None:
    ended = {path: path.stat().st_mtime_ns for path in (quick / "runs").rglob("rounds.jsonl")}
    command = ["bilinear", "--quick", "--runs", str(quick / "runs"), "--results", str(tmp_path)]
    assert toys.main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in (quick / "runs").rglob("rounds.jsonl")} == ended
    for path in (quick / "results").iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_runs_of_another_experiment_are_refused(
    quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert toys.main(["bilinear", "--runs", str(quick / "runs"), "--results", str(tmp_path)]) == 4
    assert "rounds=40" in capsys.readouterr().err


def test_a_bar_is_a_bound_of_the_error_on_one_side() -> None:
    below, above = Method("a", (), below=1e-10), Method("b", (), above=0.5)
    assert (below.holds(1e-11), below.holds(1e-9), below.holds(math.nan)) == (True, False, False)
    assert (above.holds(0.6), above.holds(0.4), above.holds(math.inf)) == (True, False, True)
    assert (below.bar, above.bar) == ("below 1e-10", "above 0.5")


@pytest.mark.parametrize(("below", "status", "verdict"), [(0.5, 0, "yes"), (1e-9, 1, "**no**")])
def test_the_command_judges_every_bar(
    below: float, status: int, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Descent without compression on the quadratics: 0.008 after 40 rounds, far from 1e-9.
    toy = yaml.safe_load((toys.FOLDER / "quadratic.yaml").read_text())
    method = toy["methods"][0] | {"below": below}
    (tmp_path / "quadratic.yaml").write_text(
        yaml.safe_dump(toy | {"task": toy["task"] + toy["quick"], "methods": [method]})
    )
    monkeypatch.setattr(toys, "FOLDER", tmp_path)
    assert toys.main(["quadratic", "--runs", str(tmp_path / "runs"), "--results", str(tmp_path)]) == status
    assert cells((tmp_path / "quadratic.md").read_text())[0][-1] == verdict


def test_bytes_to_a_gap_are_those_of_the_slowest_seed() -> None:
    value = np.array([[1.0, 0.1, 0.01], [1.0, 0.3, 0.2]])
    curve = Curve("a", np.arange(3), np.array([10.0, 20.0, 30.0]), value.min(0), value.mean(0), value.max(0))
    assert (curve.bytes_to(0.5), curve.bytes_to(0.2), curve.bytes_to(0.1)) == (20.0, 30.0, None)


def test_the_least_loss_of_inputs_that_say_nothing_is_the_entropy_of_the_labels() -> None:
    y = np.array([1, 0, 0, 0])
    loss, norm = a9a.least_loss(np.zeros((4, 3)), y)
    assert loss == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)), abs=1e-9)
    assert norm < 1e-5


def test_the_groups_of_the_real_task_have_equal_numbers_of_gradients() -> None:
    totals = set()
    for group in a9a.Study.read().groups:
        for method in group.methods:
            steps = [
                int(word.partition("=")[2]) for word in method.words if word.startswith("strategy.steps=")
            ]
            totals.add(group.rounds * (steps or [1])[0])
    assert len(totals) == 1


@by_name
def test_stored_results_are_those_of_the_experiment_and_keep_every_bar(name: str) -> None:
    found = cells((RESULTS / f"{name}.md").read_text())
    for row, method in zip(found, Toy.named(name).methods, strict=True):
        assert row[0] == method.label
        assert row[4:] == ([method.bar, "yes"] if method.bar else ["", ""])
        assert method.holds(float(row[1]))


def test_the_readme_shows_the_stored_results() -> None:
    readme = (ROOT / "README.md").read_text()
    shown = re.search(r"<!-- compressed:begin -->\n(.*?)<!-- compressed:end -->", readme, re.DOTALL)
    assert shown is not None
    assert shown[1] == (RESULTS / "a9a.md").read_text()


BARS = [(name, method) for name in NAMES for method in Toy.named(name).methods if method.bar]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), BARS, ids=[f"{name}-{method.label}" for name, method in BARS])
def test_every_bar_holds(name: str, method: Method, tmp_path: Path) -> None:
    (curve,) = replace(Toy.named(name), methods=[method]).curves(tmp_path, quick=False)
    assert method.holds(curve.end)


@pytest.mark.slow
@pytest.mark.skipif("FEDSPARSE_DATA" not in os.environ, reason="needs a9a: set FEDSPARSE_DATA to its folder")
def test_the_real_task_runs_and_goes_on(tmp_path: Path) -> None:
    command = ["--quick", "--runs", str(tmp_path / "runs"), "--results"]
    assert a9a.main([*command, str(tmp_path / "first")]) == 0
    labels = [method.label for group in a9a.Study.read().groups for method in group.methods]
    assert [row[0] for row in cells((tmp_path / "first" / "a9a.md").read_text())] == labels
    assert a9a.main([*command, str(tmp_path / "second")]) == 0
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name
