"""What the documents name exists, and nothing that can be chosen is left out."""

from __future__ import annotations

import ast
import importlib.util
import pkgutil
import re
from contextlib import suppress
from pathlib import Path

import pytest
from documents import DOCUMENTS, README, ROOT, between, links, rows, spans

from fedsparse import errors, run, topology
from fedsparse.config import GROUPS
from fedsparse.config.groups import FAULTS
from fedsparse.config.resolve import keys, plain_keys
from fedsparse.tuning.asked import OPTIONS

ARCHITECTURE = ROOT / "docs" / "architecture.md"
CHANGELOG = ROOT / "CHANGELOG.md"
SYNTAX = {"key=value", "group=name", "group.option=value"}
LEFT = {"config.yaml", "rounds.jsonl", "summary.json", "model.safetensors", "checkpoint", "lock"}
"""What a finished run leaves in its folder."""

FOLDERS = ("fedsparse", "strategies", "topologies", "tests", "docs", "experiments")

by_document = pytest.mark.parametrize("document", [*DOCUMENTS, CHANGELOG], ids=lambda path: path.name)


@by_document
def test_files_that_are_named_exist(document: Path) -> None:
    paths = [span for span in spans(document) if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*", span)]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [link for link in links(document) if not (document.parent / link).exists()] == []


@by_document
def test_python_names_exist(document: Path) -> None:
    names = [span for span in spans(document) if re.fullmatch(r"fedsparse(\.\w+)+", span)]
    assert [name for name in names if not _exists(name)] == []


def _exists(name: str) -> bool:
    with suppress(ImportError, AttributeError):
        return pkgutil.resolve_name(name) is not None
    return False


@by_document
def test_commands_that_are_named_exist(document: Path) -> None:
    modules = [m[1] for span in spans(document) if (m := re.match(r"python -m ([\w.]+)", span))]
    assert [module for module in modules if importlib.util.find_spec(module) is None] == []


@by_document
def test_keys_and_choices_that_are_named_exist(document: Path) -> None:
    wrong = []
    for span in spans(document):
        found = re.fullmatch(r"([a-z_]+)(?:\.([a-z_]+))?(?:=(\S+))?", span)
        if found is None or span in SYNTAX | LEFT or (found[2] is None and found[3] is None):
            continue
        key, option, value = found.groups()
        if value is None and key not in {*GROUPS, "faults"}:
            continue  # a name of Python, such as inbox.mean
        if key not in {*keys(), *OPTIONS} or (option and option not in _options(key)):
            wrong.append(span)
        elif key in GROUPS and option is None and value and re.fullmatch("[a-z_0-9]+", value):
            GROUPS[key].check(value)
    assert wrong == []


def _options(key: str) -> set[str]:
    groups = (
        [(FAULTS, "faults")] if key == "faults" else [(GROUPS[key], name) for name in GROUPS[key].names()]
    )
    return {spec.name for group, name in groups for spec in group.options(name)}


def test_the_readme_lists_all_that_can_be_chosen() -> None:
    said = {cell: set(re.findall("`(.+?)`", names)) for cell, names in rows(README, "| group |")}
    for cell, names in said.items():
        for key in re.findall("`(.+?)`", cell):
            assert names == set(GROUPS[key].names()), key
    assert set(re.findall("`(.+?)`", " ".join(said))) == set(GROUPS)


def test_the_readme_lists_all_mixing_rules() -> None:
    said = [name for row in rows(README, "| mixing |") for name in re.findall("`(.+?)`", row[0])]
    assert sorted(said) == GROUPS["mixing"].names()


def test_the_readmes_table_of_a_topology_is_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    said = between(README, "topology").splitlines()[1:-1]
    assert topology.main(["ring", "n=64"]) == 0
    printed = [line.strip("│ ") for line in capsys.readouterr().out.splitlines()]
    assert [line for line in said if line not in printed] == []


def test_the_changelog_lists_strategies_compressors_and_data_sets() -> None:
    text = CHANGELOG.read_text(encoding="utf-8")
    names = [
        name for key in ("strategy", "uplink", "data") for name in GROUPS[key].names() if name != "arrays"
    ]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_results_are_of_strategies_that_exist() -> None:
    found = re.findall(r"^\| `(\w+)` \|", between(README, "results"), re.MULTILINE)
    assert found == ["fedavg", "topk", "fed_ef", "scaffold", "scafcom", "scallion"]
    assert set(found) <= set(GROUPS["strategy"].names())


def test_the_exit_statuses_are_those_of_the_errors() -> None:
    classes = [getattr(errors, name) for name in errors.__all__]
    real = {0, run.BROKEN_PIPE, run.BUG, run.INTERRUPTED, *(cls.exit_status for cls in classes)}
    assert [int(row[0]) for row in rows(README, "| status |")] == sorted(real)


def test_a_run_leaves_what_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run.main(["rounds=2", "engine=local", "engine.workers=1", "name=NAME", "quiet=true"]) == 0
    said = {row[0].strip("`/") for row in rows(README, "| in `runs/NAME/` |")}
    assert {path.name for path in (tmp_path / "runs/NAME").iterdir()} == said == LEFT


def test_defaults_in_the_readme_are_the_defaults() -> None:
    text = " ".join(README.read_text(encoding="utf-8").split())
    network = {spec.name: spec.default for spec in GROUPS["network"].options("constant")}
    assert f"{network['up']:g} Mbit/s up, {network['down']:g} down, {network['latency']:g} ms" in text
    assert f"{network['speed']:g} examples/s" in text
    assert (plain_keys()["cohort"].default, plain_keys()["clients"].default) == (10, 100)


def test_the_layers_that_are_drawn_are_those_of_the_imports() -> None:
    layer = _layers()
    package = ROOT / "fedsparse"
    assert set(layer) == {
        p.stem for p in package.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    } - {"__init__"}
    upwards = []
    for file in package.rglob("*.py"):
        own = file.relative_to(package).parts[0].removesuffix(".py")
        upwards += [
            f"{own} -> {used}" for used in _imports(file) if own in layer and layer[used] < layer[own]
        ]
    assert upwards == []


def _layers() -> dict[str, int]:
    """The line of each part in the drawing, 0 at the top."""
    text = ARCHITECTURE.read_text(encoding="utf-8")
    drawn = text[text.index("## The house") :].partition("```text\n")[2].partition("```")[0].splitlines()
    return {
        name: n for n, line in enumerate(drawn) for name in re.findall(r"\b(\w+)(?:\.py|/)(?=\s|$)", line)
    }


def _imports(file: Path) -> set[str]:
    """The parts of fedsparse that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "fedsparse":
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fedsparse."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found.update(a.name.split(".")[1] for a in node.names if a.name.startswith("fedsparse."))
    return found & set(_layers())
