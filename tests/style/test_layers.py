"""Dependencies point downwards, imports are light, and nothing random is global."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# From the ground up; a module may import what stands on its own line or on one before it.
LAYERS = [
    {
        "errors",
        "units",
        "words",
        "process",
        "files",
        "schedule",
        "rng",
        "options",
        "perclient",
        "lazy",
        "theory",
    },
    {"wire", "message", "layout"},
    {"task"},
    {"protocol", "gossip", "variance", "compress", "ledger", "masks"},
    {"data", "models", "network", "aggregate", "archive", "checkpoint", "records", "summary", "runfolder"},
    {"cohort", "strategies", "topologies", "registry", "sources", "graphs", "mixing", "trainers"},
    {"engine", "interrupts", "progress", "sinks", "console", "command", "arguments"},
    {"simulation"},
    {"config", "testing"},
    {"workers"},
    {"parts"},
    {"check", "recorded", "topology"},
    {"tuning", "flower"},
    {"sweep", "report"},
    {"experiment"},
    {"run", "tune"},
]
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}


def sources() -> Iterator[tuple[str, Path]]:
    """Each module's place (its first name under fedsparse) and file."""
    for path in sorted((ROOT / "fedsparse").rglob("*.py")):
        parts = path.relative_to(ROOT / "fedsparse").with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], path
    for folder in ("strategies", "topologies"):
        for path in sorted((ROOT / folder).glob("*.py")):
            yield folder, path


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "fedsparse":
                yield from (f"fedsparse.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_dependencies_point_downwards() -> None:
    wrong = []
    for place, path in sources():
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "fedsparse" and len(parts) > 1 and HEIGHT[parts[1]] > HEIGHT[place]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("folder", ["strategies", "topologies"])
def test_plug_ins_see_nothing_of_the_machine(folder: str) -> None:
    allowed = {"compress", "errors", "gossip", "masks", "message", "options", "protocol", "variance", folder}
    outside = {"__future__", "collections", "dataclasses", "math", "networkx", "numpy", "torch", "typing"}
    if folder == "topologies":
        allowed |= {"graphs", "registry", "rng"}
        outside |= {"functools"}
    for path in (ROOT / folder).glob("*.py"):
        for name in imported(path):
            parts = name.split(".")
            assert parts[0] in outside or (parts[0] == "fedsparse" and parts[1] in allowed), (
                f"{path.name}: {name}"
            )


@pytest.mark.parametrize(
    "statement",
    [
        "import fedsparse",
        "import fedsparse.run",
        "import fedsparse.tuning.asked",
        "import fedsparse.report.page, fedsparse.report.follow, fedsparse.report.figures, fedsparse.report.whatif",
        "import fedsparse.errors",
    ],
)
def test_imports_are_light(statement: str) -> None:
    code = f"import sys; {statement}; print(sorted({{'torch', 'ray', 'flwr'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


GLOBAL = re.compile(
    r"torch\.manual_seed|torch\.seed\(|np\.random\.(seed|rand|randn|choice|permutation|shuffle)\b|^import random"
)
UNSAFE = re.compile(r"\bpickle\.loads?\(|\beval\(|allow_pickle=True|torch\.load\(")


@pytest.mark.parametrize(
    ("pattern", "reason"), [(GLOBAL, "global random state"), (UNSAFE, "runs what it reads")]
)
def test_no_source_line_has_what_it_must_not(pattern: re.Pattern[str], reason: str) -> None:
    # randomness.py is the check that strategies leave the global generators alone.
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for _, path in sources()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line) and not line.lstrip().startswith("#") and path.name != "randomness.py"
    ]
    assert found == [], reason
