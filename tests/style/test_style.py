"""The tools' opinion of the whole project."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    run("ruff", "check", ".")


def test_the_code_is_formatted() -> None:
    run("ruff", "format", "--check", ".")


@pytest.mark.slow
def test_mypy_finds_nothing() -> None:
    run("mypy")


@pytest.mark.slow
def test_the_codecs_and_checkpoints_are_covered_branch_by_branch(tmp_path: Path) -> None:
    covered = ("fedsparse.wire", "fedsparse.message", "fedsparse.archive", "fedsparse.checkpoint")
    report = [f"--cov={module}" for module in covered]
    gate = ["--cov-branch", "--cov-fail-under=100", "--cov-report=term-missing:skip-covered"]
    os.environ["COVERAGE_FILE"] = str(tmp_path / "coverage")
    try:
        run("pytest", "-n", "0", "tests/wire", "tests/state", "-q", "-p", "no:cacheprovider", *report, *gate)
    finally:
        del os.environ["COVERAGE_FILE"]
