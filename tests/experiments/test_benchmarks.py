"""The benchmarks run; what they measure is for people to read, never for a test."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(name: str) -> str:
    script = ROOT / "experiments" / "benchmarks" / name
    done = subprocess.run(
        [sys.executable, script, "1"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_codec_benchmark_shows_every_step() -> None:
    shown = run("codec.py")
    assert all(step in shown for step in ("top-k selection", "encode", "decode", "longest message 50,"))


@pytest.mark.ray
@pytest.mark.slow
def test_the_start_up_benchmark_shows_every_program() -> None:
    shown = run("startup.py")
    assert "fedsparse, Ray minus Ray, bare" in shown
