"""The benchmarks run; what they measure is for people to read, never for a test."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from experiments.benchmarks import accelerator, gossip, masked

ROOT = Path(__file__).resolve().parents[2]


def run(name: str, argument: str = "1") -> str:
    script = ROOT / "experiments" / "benchmarks" / name
    done = subprocess.run(
        [sys.executable, script, argument], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_codec_benchmark_shows_every_step() -> None:
    shown = run("codec.py")
    assert all(step in shown for step in ("top-k selection", "encode", "decode", "longest message 50,"))
    shapes = ("single, d=1e5", "block of 100, d=1e5", "single, d=1e6", "block of 10, d=1e6", "single, d=1e7")
    assert all(shape in shown for shape in shapes)
    assert "encode and decode, of top-k" in shown


@pytest.mark.slow
def test_the_codec_benchmark_says_what_a_pass_of_abs_is() -> None:
    assert "np.abs(row, out=buffer)" in run("codec.py", "--help")


@pytest.mark.ray
@pytest.mark.slow
def test_the_start_up_benchmark_shows_every_program() -> None:
    shown = run("startup.py", "--repeat=1")
    assert "fedsparse, Ray minus Ray, bare" in shown


@pytest.mark.slow
def test_a_strategy_is_measured_beside_fedavg_with_as_many_gradients() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.benchmarks.strategies", "fedavg", "marina", "--rounds", "2"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()[1:3]]
    assert [line[:2] for line in lines] == [["fedavg", "3"], ["marina", "2"]]
    assert all(float(line[3]) > 0 for line in lines)


@pytest.mark.slow
def test_rounds_on_a_mask_are_measured_beside_dense_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.benchmarks.masked", "random_mask", "s2ft", "--rounds", "1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()[1:3]]
    assert [line[0] for line in lines] == ["random_mask", "s2ft"]
    assert all(float(line[2]) > 0 for line in lines)


@pytest.mark.slow
def test_rounds_on_a_device_are_measured_beside_a_plain_loop_there() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "experiments.benchmarks.accelerator",
            "w1",
            "--device",
            "cpu",
            "--rounds",
            "1",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line.split() for line in done.stdout.splitlines()[2:]]
    assert line[0] == "w1"
    assert all(float(figure) > 0 for figure in line[1:])


@pytest.mark.parametrize("benchmark", [masked, accelerator])
def test_a_case_that_is_not_there_is_refused(benchmark: ModuleType) -> None:
    assert benchmark.main(["random_masks"]) == 2


def test_no_rounds_are_no_benchmark() -> None:
    assert accelerator.main(["w1", "--device", "cpu", "--rounds", "0"]) == 2


@pytest.mark.slow
def test_mixing_is_measured_beside_a_copy_on_one_thread_and_on_two() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.benchmarks.gossip", "ring", "--repeat", "1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("ring, 64 x 199,210"))
    *_, copy, copy_on_two, one, two = line.partition("   30 bags, a batch as it lies")[0].split()
    assert all(float(number) > 0 for number in (copy, copy_on_two, one, two))


def test_a_case_of_mixing_that_is_not_there_is_refused() -> None:
    assert gossip.main(["rings"]) == 2
