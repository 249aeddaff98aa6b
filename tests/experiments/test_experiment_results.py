"""The experiments of this repository: stored results are of what their files ask for, and come again."""

import json
import os
import re
from pathlib import Path

import pytest

from experiments.least_loss import least_loss
from fedsparse.data import SETS
from fedsparse.experiment import main
from fedsparse.experiment.curve import from_csv
from fedsparse.experiment.reading import read
from fedsparse.experiment.stored import load, processor
from fedsparse.experiment.tables import ends_table, one, overview
from fedsparse.recorded import versions

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "experiments"
RESULTS = FOLDER / "results"
NAMES = [path.stem for path in sorted(FOLDER.glob("*.yaml"))]
STORED = [(name, v) for name in NAMES for v in ("full", "quick") if (RESULTS / name / f"{v}.json").exists()]


@pytest.mark.parametrize(("name", "variant"), STORED)
def test_stored_results_are_of_what_the_file_asks_for(name: str, variant: str) -> None:
    asked, found = read(FOLDER / f"{name}.yaml", variant), load(RESULTS / name, variant)
    assert found is not None
    assert found.asked == json.loads(json.dumps(asked.decisive))
    assert re.fullmatch("[0-9a-f]{40}", found.versions["commit"])
    wanted = [(p.label, m.label) for p in asked.panels for m in asked.methods if p.label not in m.without]
    assert [(end.panel, end.method) for end in found.ends] == wanted
    assert (RESULTS / name / f"{variant}.md").read_text(encoding="utf-8") == one(asked, found)


@pytest.mark.parametrize(("name", "variant"), STORED)
def test_stored_verdicts_are_those_of_the_stored_curves(name: str, variant: str) -> None:
    asked, found = read(FOLDER / f"{name}.yaml", variant), load(RESULTS / name, variant)
    assert found is not None
    said = [
        s
        for trend in asked.expected
        for s in trend.seen(found.curves, asked.metric, asked.against, asked.called)
    ]
    assert [(s.says, s.holds) for s in found.seen] == [(s.says, s.holds) for s in said]


def test_the_table_of_all_is_what_the_stored_results_give() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- results:begin -->\n")[2].partition("\n<!-- results:end -->")[0]
    every = [(name, read(FOLDER / f"{name}.yaml", "full"), load(RESULTS / name, "full")) for name in NAMES]
    assert shown == overview(every)


def test_the_readme_shows_the_stored_results() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = load(RESULTS / "a9a", "full")
    assert found is not None
    table = ends_table(read(FOLDER / "a9a.yaml", "full"), found.ends)
    assert f"<!-- compressed:begin -->\n{table}\n" in text


def test_methods_of_the_real_task_take_equal_numbers_of_gradients() -> None:
    asked, totals = read(FOLDER / "a9a.yaml", "full"), set()
    for method in asked.methods:
        given = dict(word.partition("=")[::2] for word in [*asked.task, *method.words])
        totals.add(int(given["rounds"]) * int(given.get("strategy.steps", 1)))
    assert totals == {800}


def test_the_least_loss_of_inputs_that_say_nothing_is_the_entropy_of_the_labels() -> None:
    np = pytest.importorskip("numpy")
    loss, norm = least_loss(np.zeros((4, 3)), np.array([1, 0, 0, 0]))
    assert loss == pytest.approx(-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)), abs=1e-9)
    assert norm < 1e-5


def test_every_experiment_has_a_stored_result_of_both_variants() -> None:
    assert sorted(STORED) == sorted((name, variant) for name in NAMES for variant in ("full", "quick"))


def needs_files(name: str) -> bool:
    """Whether its quick variant needs a data set that does not come with the package."""
    asked = read(FOLDER / f"{name}.yaml", "quick")
    given = dict(word.partition("=")[::2] for word in asked.task)
    data = given["data"] if asked.base is None else asked.base.data
    # data.on: a problem over a file
    return "data.on" in given or hasattr(SETS.module(data), "FILES")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, variant in STORED if variant == "quick"])
def test_a_quick_variant_gives_the_stored_numbers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bits on such a processor and PyTorch as the stored ones; elsewhere nearly the same figures."""
    words = []
    if needs_files(name):
        root = os.environ.get("FEDSPARSE_DATA")
        if not root:
            pytest.skip("needs a data set: set FEDSPARSE_DATA to its folder")
        words = [f"data_dir={root}"]
    stored = load(RESULTS / name, "quick")
    assert stored is not None
    monkeypatch.chdir(tmp_path)
    assert main([str(FOLDER / f"{name}.yaml"), "quick", *words, "--out", "results"]) == 0
    text = (tmp_path / "results" / name / "quick.csv").read_text()
    alike = (stored.processor, stored.versions["torch"]) == (processor(), versions()["torch"])
    if alike:
        assert text == (RESULTS / name / "quick.csv").read_text()
    for mine, kept in zip(from_csv(text), stored.curves, strict=True):
        assert (mine.method, mine.rounds.tolist()) == (kept.method, kept.rounds.tolist())
        assert mine.mean == pytest.approx(kept.mean, rel=0.01, abs=0.01)
