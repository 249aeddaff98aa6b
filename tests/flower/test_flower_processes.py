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
    "fedavg": ["strategy=fedavg", "downlink=topk", "downlink.fraction=0.1"],
    "choco": ["strategy=choco", "topology=ring", "uplink.fraction=0.1", "eval_every=3"],
    "dpsgd": ["strategy=dpsgd", "topology=ring", "eval_every=3"],
    "gradient_tracking": ["strategy=gradient_tracking", "topology=ring", "eval_every=3"],
}
KILLED = ("econtrol", "choco")
"""The runs whose server is killed."""

PATIENCE = 150.0

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
    """All runs at once on the same nodes; the servers of two are killed -9 and started again."""

    def begin(name: str, *more: str) -> Child:
        own = ["checkpoint_every=1", f"runs={folder}", f"name={name}"]
        return run_of(deployment, [*small((*RUNS[name], *own)), *more])

    children = {name: begin(name) for name in RUNS}
    for name in KILLED:
        wait_until(lambda name=name: rounds_of(folder / name) >= 1, "the first round", children[name])
        assert not finished(folder / name)
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


def test_both_hops_of_gossip_are_in_the_records(parallel: dict[str, Ended], folder: Path) -> None:
    for record in read_rounds(folder / "dpsgd"):
        traffic, flower = record["traffic"], record["flower"]
        assert flower["up_relay_payload_bytes"] == traffic["radio_payload_bytes"] > 0
        assert flower["down_relay_payload_bytes"] == traffic["up_payload_bytes"]
        for way in ("up", "down"):
            assert flower[f"{way}_line_bytes"] > flower[f"{way}_flower_bytes"]
            assert flower[f"{way}_flower_bytes"] > flower[f"{way}_relay_payload_bytes"]


def test_a_trial_that_is_killed_leaves_no_process(
    parallel: dict[str, Ended], doomed: subprocess.Popen[bytes], folder: Path
) -> None:
    wait_until(lambda: rounds_of(folder / "doomed") >= 1, "the first round")
    assert len(processes_of(doomed.pid)) > 3  # the SuperLink, a SuperNode, and what they have started
    doomed.kill()
    wait_until(lambda: processes_of(doomed.pid) == [], "the end of all its processes")


def test_a_node_killed_in_mid_round_comes_back_with_its_state(
    parallel: dict[str, Ended], deployment: Deployment, folder: Path
) -> None:
    own = [
        "rounds=5",
        "engine.clock=real",
        "deadline=8",
        "checkpoint_every=1",
        f"runs={folder}",
        "name=fallen",
    ]
    child = run_of(deployment, small(("strategy=scafcom", "uplink.fraction=0.1", *own)))
    wait_until(lambda: rounds_of(folder / "fallen") >= 1, "the first round", child)
    deployment.nodes[2].kill()
    deployment.start_node(2)
    wait_until(lambda: finished(folder / "fallen"), "the end", child)
    end = ended(folder / "fallen", folder)
    fates = [(record["accepted"], record["late"]) for record in end.records]
    assert fates[0] == (4, 0)
    assert (3, 1) in fates
    assert fates[-1] == (4, 0)
    mean = sum(rows["c"].astype(np.float64) for rows in end.clients.values()) / CLIENTS
    np.testing.assert_allclose(end.checkpoint["server.c"], mean, atol=1e-8)


def test_a_gossiping_node_killed_in_mid_round_is_away_until_it_comes_back(
    parallel: dict[str, Ended], deployment: Deployment, folder: Path
) -> None:
    """Push-sum's weights have the sum that they began with, whoever was away."""
    gossip = ["strategy=push_sum", "topology=exponential", "mixing=push_sum", "eval_every=6"]
    own = ["rounds=6", "engine.patience=12", "checkpoint_every=1", f"runs={folder}", "name=gossip-fallen"]
    child = run_of(deployment, small((*gossip, *own)))
    wait_until(lambda: rounds_of(folder / "gossip-fallen") >= 1, "the first round", child)
    deployment.nodes[1].kill()
    wait_until(lambda: (3, 1) in fates_of(folder / "gossip-fallen"), "a round without it", child)
    deployment.start_node(1)
    wait_until(lambda: finished(folder / "gossip-fallen"), "the end", child)
    fates = fates_of(folder / "gossip-fallen")
    assert fates[0] == fates[-1] == (4, 0)
    end = ended(folder / "gossip-fallen", folder)
    weights = sum(float(rows["w"].sum()) for rows in end.clients.values())
    assert weights == pytest.approx(CLIENTS, abs=1e-6)


def fates_of(folder: Path) -> list[tuple[int, int]]:
    return [(record["accepted"], record["late"]) for record in read_rounds(folder)]
