"""The programs of the comparison do the same work; how fast they are is for people to read, never for a test."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from experiments.benchmarks import environments, schedule, speed
from experiments.benchmarks.measure import Measured
from experiments.benchmarks.rivals import gossip_loop, nets, plain
from experiments.benchmarks.rivals.work import Work
from experiments.benchmarks.table import Row, table
from experiments.benchmarks.workloads import PROGRAMS, WORKLOADS, Entry
from fedsparse import data, models, run

ROOT = Path(__file__).resolve().parents[2]
SMALL = replace(WORKLOADS["W1"], clients=100, cohort=5)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "experiments.benchmarks.speed", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def differences(shown: str) -> dict[str, float]:
    """The last column of a table, by program."""
    lines = shown.partition("\nprogram")[2].splitlines()[1:]
    found = (re.match(r"(\S.*?)  .* (\S+)$", line) for line in lines[: lines.index("")])
    return {m[1]: float(m[2]) for m in found if m and re.fullmatch(r"\d\.\de[-+]\d\d", m[2])}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    schedule.write_data(tmp_path, examples=6000)
    return schedule.write_work(tmp_path, SMALL, rounds=2)


def test_the_plain_loop_ends_where_fedsparse_ends(work: Path, tmp_path: Path) -> None:
    given = Work.load(work)
    loop = plain.run(given, 2, nets.network(given), nets.images(given).flatten(1))
    told = [*schedule.command(tmp_path, SMALL, SMALL.clients), "rounds=2", "engine=local", "engine.workers=1"]
    assert run.main([*told, "quiet=true", f"runs={tmp_path}", "name=run"]) == 0
    ours = load_file(tmp_path / "run" / "model.safetensors")
    for (name, start), theirs in zip(given.start.items(), loop, strict=True):
        change = theirs.detach().numpy() - start
        assert np.linalg.norm(change) > 0
        assert np.linalg.norm(ours[name] - start - change) < 1e-4 * np.linalg.norm(change), name


def test_the_plain_loop_over_nodes_ends_where_fedsparse_ends(tmp_path: Path) -> None:
    schedule.write_data(tmp_path, examples=6000)
    workload = replace(WORKLOADS["W3"], clients=8, cohort=8)
    given = Work.load(schedule.write_work(tmp_path, workload, rounds=3))
    loop = gossip_loop.run(given, 3, nets.network(given), nets.images(given).flatten(1)).numpy()
    told = [*schedule.command(tmp_path, workload, 8), "rounds=3", "engine=local", "engine.workers=1"]
    told += [*workload.entries[1].overrides, "quiet=true", f"runs={tmp_path}", "name=run"]
    assert run.main(told) == 0
    final = load_file(tmp_path / "run" / "model.safetensors")
    start = np.concatenate([value.ravel() for value in given.start.values()])
    ours = np.concatenate([final[name].ravel() for name in given.start])
    assert np.linalg.norm(loop - start) > 0
    assert np.linalg.norm(ours - loop) < 1e-4 * np.linalg.norm(loop - start)


def test_a_client_uses_each_of_its_examples_once_in_a_round(work: Path) -> None:
    order = Work.load(work).order
    assert order.shape == (2, SMALL.cohort, 60)
    assert all(len(set(own.tolist())) == 60 for cohort in order for own in cohort)


@pytest.mark.parametrize("name", ["W1", "W2", "W2b"])
def test_the_rivals_train_the_models_of_fedsparse(name: str, tmp_path: Path) -> None:
    schedule.write_data(tmp_path, examples=6000)
    workload = replace(WORKLOADS[name], clients=100, cohort=2)
    given = Work.load(schedule.write_work(tmp_path, workload, rounds=1))
    options = {"hidden": (200, 200)} if workload.model == "mlp" else {}
    ours = models.build(workload.model, (1, 28, 28), 10, schedule.SEED, **options)
    x = nets.images(given)[:3]
    torch.testing.assert_close(nets.network(given)(x), ours(x), rtol=1e-4, atol=1e-5)


def test_the_made_up_images_have_the_size_of_mnist(tmp_path: Path) -> None:
    schedule.write_data(tmp_path)
    found = data.load("arrays", None, 0, folder=str(tmp_path))
    assert isinstance(found, data.Dataset)
    assert (found.x.shape, found.x.dtype, found.classes) == ((60_000, 1, 28, 28), np.uint8, 10)


def measured(round_s: float) -> Measured:
    return Measured(start_s=1, first_s=1, round_s=round_s, cpu_s=1, cores=1, pss=1)


def test_ratios_are_taken_within_a_repetition() -> None:
    fast, slow = Row(Entry("local-1")), Row(Entry("plain"))
    fast.runs, slow.runs = [measured(1), measured(2), measured(8)], [measured(2), measured(8), measured(16)]
    assert fast.speed_up(slow) == 2  # of 2/1, 8/2, 16/8; the ratio of the medians is 4


def test_a_repetition_that_failed_is_left_out() -> None:
    fast, slow = Row(Entry("local-1")), Row(Entry("plain"))
    fast.runs, slow.runs = [None, measured(2)], [measured(1), measured(6)]
    assert (fast.speed_up(slow), fast.median(lambda r: r.round_s)) == (3, 2)


def test_the_share_of_the_peak_is_that_of_as_many_threads() -> None:
    two = Row(Entry("local-2"), [measured(1.0)])
    assert two.share(100e9, [(100.0, 200.0)]) == 0.5


def test_the_table_says_why_a_program_is_missing() -> None:
    rows = [Row(Entry("plain"), [measured(1)]), Row(Entry("pfl"), [None], problem="left out, no network")]
    shown = table(WORKLOADS["W1"], rows, [(100.0, 200.0)])
    assert "pfl-research: left out, no network" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--workloads", "W2c"],
            "--workloads W2c: there is no such one; there are W1, W2",
        ),
        (
            ["--programs", "flwr"],
            "--programs flwr: there is no such one; did you mean 'flower'? There are plain",
        ),
        (["--workloads", "W5", "--programs", "pfl"], "W5 is run by local-2, and --programs has none of them"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert speed.main(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_shows_a_table_in_which_the_models_agree() -> None:
    done = command(
        "--workloads", "W1", "--programs", "plain,local-1,local-2", "--rounds", "2", "--repeat", "1"
    )
    assert done.returncode == 0, done.stderr
    found = differences(done.stdout)
    assert set(found) == {PROGRAMS[name].title for name in ("plain", "local-1", "local-2")}
    assert max(found.values()) < 1e-3
    assert "GFLOP/s on one thread" in done.stdout


@pytest.mark.slow
def test_the_memory_of_registered_clients_is_shown() -> None:
    done = command("--workloads", "W5", "--rounds", "2", "--repeat", "1")
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"memory of a registered client, 1,000,000 against 1,000 of them: -?\d+ bytes", done.stdout
    )


@pytest.mark.slow
def test_an_environment_that_cannot_be_made_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(environments.ENVIRONMENTS, "pfl", ("not a requirement",))
    with pytest.raises(environments.Unavailable, match="Invalid requirement"):
        environments.python_of("pfl", tmp_path, lambda _: None)


@pytest.mark.slow
@pytest.mark.skipif(
    environments.FOLDER not in os.environ,
    reason=f"{environments.FOLDER} names no folder of environments of Flower, pfl and FedJAX; "
    "`python -m experiments.benchmarks.speed` makes them",
)
@pytest.mark.parametrize("name", ["flower", "pfl", "pfl-2", "fedjax"])
def test_a_rival_ends_where_the_plain_loop_ends(name: str) -> None:
    done = command("--workloads", "W1", "--programs", name, "--rounds", "2", "--repeat", "1")
    assert done.returncode == 0, done.stderr + done.stdout
    assert differences(done.stdout)[PROGRAMS[name].title] < 1e-3
