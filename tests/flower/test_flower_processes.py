"""Real processes: a SuperLink and SuperNodes on this machine, which get killed. Every wait has a deadline."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fedsparse.flower.children import Child
from fedsparse.flower.deployment import Deployment
from fedsparse.flower.trial import run_of
from fedsparse.runfolder import read_rounds, read_summary
from tests.flower.parity import CLIENTS, Ended, assert_same, ended, simulated, small

pytestmark = pytest.mark.flower

RUNS = {
    "scafcom": ["strategy=scafcom", "uplink.fraction=0.1"],
    "econtrol": ["strategy=econtrol", "uplink.fraction=0.1"],
    "fedavg": ["strategy=fedavg", "downlink=topk", "downlink.fraction=0.1", "personal=0.25"],
    "choco": ["strategy=choco", "topology=ring", "uplink=topk", "uplink.fraction=0.1"],
}
KILLED = ("econtrol", "choco")
"""The runs whose servers are killed."""

PATIENCE = 240.0

ROOT = Path(__file__).resolve().parents[2]


def wait_until(happened: Callable[[], bool], what: str, child: Child | None = None) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, (
            f"{what} did not happen in {PATIENCE} s: {child.tail(30) if child else ''}"
        )
        assert child is None or child.alive or happened(), f"{what} did not happen: {child.tail(30)}"
        time.sleep(0.1)


def rounds_of(folder: Path) -> int:
    return len(read_rounds(folder)) if (folder / "config.yaml").exists() else 0


def finished(folder: Path) -> bool:
    return (folder / "config.yaml").exists() and read_summary(folder) is not None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deployment")


@pytest.fixture(scope="module")
def doomed(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A trial that will be killed; it begins while the others run."""
    words = [
        "strategy=fedavg",
        "clients=1",
        "rounds=100",
        "model.hidden=[8]",
        f"runs={folder}",
        "name=doomed",
        "quiet=true",
    ]
    process = subprocess.Popen([sys.executable, "-m", "fedsparse.flower", "trial", *words], cwd=ROOT)
    yield process
    process.kill()
    process.wait()


def processes_of(trial: int) -> list[int]:
    """All processes of that trial, which have the name of its folder in their environment."""
    mark = f"fedsparse-flower-{trial}-".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended in the meantime, or is another user's
            if mark in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@pytest.fixture(scope="module")
def deployment(folder: Path) -> Iterator[Deployment]:
    with Deployment(CLIENTS, folder) as found:
        yield found


@pytest.fixture(scope="module")
def parallel(deployment: Deployment, folder: Path, doomed: subprocess.Popen[bytes]) -> dict[str, Ended]:
    """Four runs at once on the same nodes; the servers of two are killed -9 and started again."""

    def begin(name: str, *more: str) -> Child:
        own = ["checkpoint_every=1", f"runs={folder}", f"name={name}"]
        return run_of(deployment, [*small((*RUNS[name], *own)), *more])

    children = {name: begin(name) for name in RUNS}
    for name in KILLED:
        wait_until(lambda name=name: rounds_of(folder / name) >= 1, "the first round", children[name])
        os.kill(int((folder / name / "lock").read_text()), signal.SIGKILL)
        children[name] = run_of(deployment, [f"resume={folder / name}", "engine=flower"])
    for name, child in children.items():
        wait_until(lambda name=name: finished(folder / name), f"the end of {name}", child)
    return {name: ended(folder / name, folder) for name in RUNS}


@pytest.mark.parametrize("name", RUNS)
def test_processes_end_with_the_bits_and_bytes_of_the_simulation(
    name: str, parallel: dict[str, Ended], tmp_path: Path
) -> None:
    assert_same(simulated(tmp_path, *RUNS[name], "checkpoint_every=1"), parallel[name])


@pytest.mark.parametrize("name", ["scafcom", "choco"])
def test_the_run_folder_is_that_of_a_simulation(
    name: str, parallel: dict[str, Ended], folder: Path, tmp_path: Path
) -> None:
    simulated(tmp_path, *RUNS[name])
    names = {path.name for path in (tmp_path / "simulated").iterdir()}
    assert {path.name for path in (folder / name).iterdir()} == names


@pytest.mark.parametrize("way", ["up", "down"])
def test_on_the_line_is_more_than_flower_serialises_and_that_is_more_than_messages(
    way: str, parallel: dict[str, Ended], folder: Path
) -> None:
    for record in read_rounds(folder / "scafcom"):
        payload, flower = record["traffic"][f"{way}_payload_bytes"], record["flower"]
        assert flower[f"{way}_line_bytes"] > flower[f"{way}_flower_bytes"] > payload > 0


def test_a_trial_that_is_killed_leaves_no_process(
    parallel: dict[str, Ended], doomed: subprocess.Popen[bytes], folder: Path
) -> None:
    wait_until(lambda: rounds_of(folder / "doomed") >= 1, "the first round")
    assert len(processes_of(doomed.pid)) > 3  # the SuperLink, a SuperNode, and what they have started
    doomed.kill()
    wait_until(lambda: processes_of(doomed.pid) == [], "the end of all its processes")


FALLEN = {
    "fallen": ["strategy=scafcom", "uplink.fraction=0.1", "engine.clock=real", "deadline=8"],
    "fallen-gossip": [*RUNS["choco"], "engine.patience=8"],
}
"""Runs in which a node is killed; what a round waits for it."""


def counts(folder: Path) -> list[int]:
    """The number of accepted answers of each round so far."""
    begun = (folder / "config.yaml").exists()
    return [record["accepted"] for record in read_rounds(folder)] if begun else []


def again_complete(accepted: list[int]) -> bool:
    """Whether a round with all clients came after one without some."""
    missed = [at for at, count in enumerate(accepted) if count < CLIENTS]
    return bool(missed) and CLIENTS in accepted[missed[0] :]


@pytest.fixture(scope="module")
def fallen(parallel: dict[str, Ended], deployment: Deployment, folder: Path) -> dict[str, Ended]:
    """Two runs at once; after a complete round of both a node is killed -9 and started again.

    They go on until it is seen to be back, however long a loaded machine takes for that, and are then stopped.
    """

    def begin(name: str) -> Child:
        own = ["rounds=1000", "checkpoint_every=1", f"runs={folder}", f"name={name}"]
        return run_of(deployment, small((*FALLEN[name], *own)))

    children = {name: begin(name) for name in FALLEN}
    for name, child in children.items():
        wait_until(lambda name=name: CLIENTS in counts(folder / name), "a complete round", child)
    deployment.nodes[2].kill()
    for name, child in children.items():
        wait_until(lambda name=name: min(counts(folder / name)) < CLIENTS, "a round without it", child)
    deployment.start_node(2)
    for name, child in children.items():
        wait_until(lambda name=name: again_complete(counts(folder / name)), "its return", child)
    for name, child in children.items():
        os.kill(int((folder / name / "lock").read_text()), signal.SIGTERM)
        wait_until(lambda child=child: not child.alive, f"the stop of {name}")
    return {name: ended(folder / name, folder) for name in FALLEN}


@pytest.mark.parametrize("name", FALLEN)
def test_a_round_goes_on_without_a_node_that_is_killed_and_the_node_comes_back(
    name: str, fallen: dict[str, Ended]
) -> None:
    assert again_complete([record["accepted"] for record in fallen[name].records])
    missing = [record for record in fallen[name].records if record["accepted"] < CLIENTS]
    assert all(record["accepted"] + record["late"] == CLIENTS for record in missing)


def test_after_a_fall_the_law_of_scafcom_holds(fallen: dict[str, Ended]) -> None:
    end = fallen["fallen"]
    mean = sum(rows["c"].astype(np.float64) for rows in end.clients.values()) / CLIENTS
    np.testing.assert_allclose(end.checkpoint["server.c"], mean, atol=1e-8)


def test_after_a_fall_every_gossiping_device_has_a_state(fallen: dict[str, Ended]) -> None:
    end = fallen["fallen-gossip"]
    assert set(end.clients) == set(range(CLIENTS))
    assert all(np.isfinite(rows["x"]).all() for rows in end.clients.values())
