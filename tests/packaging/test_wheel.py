"""A wheel, installed where there is no source tree, does what the source tree does."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["fedsparse", "strategies", "topologies", "experiments", "pyproject.toml", "README.md", "LICENSE"]

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel, and of this one only the dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        copy(ROOT / part, source / part, **({"ignore": ignore} if (ROOT / part).is_dir() else {}))
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "-w",
        folder / "dist",
        source,
        cwd=folder,
    )
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = (folder / "dist").glob("fedsparse-*.whl")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=folder)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    # A path file in a folder that is itself only a path entry is not read, so the editable install stays outside.
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_strategies_and_topologies_lie_inside_the_package(python: Path, tmp_path: Path) -> None:
    code = "import fedsparse.strategies as s, fedsparse.topologies as t; print(s.__file__, t.__file__)"
    for file in run(python, "-c", code, cwd=tmp_path).split():
        assert Path(file).is_relative_to(python.parents[1])
        assert Path(file).parts[-3] == "fedsparse"


def test_the_main_job_runs_from_any_folder(python: Path, tmp_path: Path) -> None:
    command = ["-m", "fedsparse.run", "strategy=scafcom", "clients=100", "rounds=2", "engine=local"]
    assert "accuracy" in run(python, *command, cwd=tmp_path)
    assert (tmp_path / "runs").is_dir()


def test_no_other_name_lands_in_site_packages(python: Path, tmp_path: Path) -> None:
    listing = run(python, "-m", "pip", "show", "--files", "fedsparse", cwd=tmp_path)
    files = [line.strip() for line in listing.partition("Files:")[2].splitlines() if line.strip()]
    tops = {Path(f).parts[0] for f in files}
    assert {t for t in tops if not t.startswith("fedsparse")} == {".."}  # the command in bin/


def test_experiments_are_found_from_an_empty_folder(python: Path, tmp_path: Path) -> None:
    assert "scafcom" in run(python, "-m", "fedsparse.experiment", cwd=tmp_path)
