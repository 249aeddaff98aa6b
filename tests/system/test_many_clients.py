"""A million registered clients: a round costs what its cohort costs."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedsparse import Result, models, simulate
from fedsparse.cohort.examples import Examples
from fedsparse.compress import TopK
from fedsparse.data import Dataset
from fedsparse.data.partition import partition
from fedsparse.engine import place, session
from fedsparse.engine.faults import Faults
from fedsparse.engine.sampling import RoundRobin, Uniform
from fedsparse.network import Network
from fedsparse.records import without_wall
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.scafcom import Scafcom

MANY = 1_000_000


@cache
def dataset() -> Dataset:
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((500, 12)).astype(np.float32), draw.integers(0, 4, 500)
    return Dataset("random", x, y, x[:50], y[:50], classes=4)


def run(clients: int, **options: Any) -> Result:
    """Some rounds of SCAFCOM with everything that keeps a number for a client: replicas, links, lost messages."""
    held = partition("bootstrap", dataset(), clients, 0, size=9, alpha=0.5)
    arguments = {
        "strategy": Scafcom(lr=0.1, steps=2, uplink=TopK(0.1)),
        "examples": Examples.of(dataset(), held),
        "model": models.build("mlp", (12,), 4, 0, hidden=(8,)),
        "batch": 4,
        "rounds": 4,
        "cohort": 12,
        "block": 5,
        "downlink": TopK(0.2),
        "network": Network(profile="lognormal", jitter=0.1),
        "faults": Faults(dropout=0.1, uplink_loss=0.1, downlink_loss=0.1),
    }
    return simulate(**(arguments | options))


def same(one: Result, other: Result) -> bool:
    tensors = [(one.ids, other.ids), *((one.server[n], other.server[n]) for n in one.server)]
    tensors += [(one.clients[n], other.clients[n]) for n in one.clients]
    records = [[without_wall(r) for r in result.history] for result in (one, other)]
    return all(torch.equal(a, b) for a, b in tensors) and records[0] == records[1]


def test_a_million_clients_give_the_same_bits_with_one_worker_and_with_two() -> None:
    one = run(MANY)
    assert int(one.ids.max()) > 10**5
    assert same(one, run(MANY, workers=2))


def test_the_same_cohort_trains_the_same_whoever_else_is_registered() -> None:
    few, many = (run(n, strategy=FedAvg(lr=0.1, steps=2), sampler=RoundRobin()) for n in (1000, MANY))
    assert same(few, many)


@pytest.mark.parametrize("sampler", [Uniform(), RoundRobin()])
def test_a_registered_client_takes_at_most_20_bytes(sampler: Any) -> None:
    def peak(clients: int) -> int:
        tracemalloc.start()
        run(clients, sampler=sampler, rounds=2)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1000)  # what is imported or remembered once
    assert peak(MANY) - peak(1000) <= 20 * (MANY - 1000)


# ---- more state than memory


def test_states_on_disk_give_the_same_bits_as_states_in_memory(tmp_path: Path) -> None:
    memory, disk = run(MANY), run(MANY, state_dir=tmp_path / "states")
    assert len(memory.ids) > 20
    assert same(memory, disk)
    assert list((tmp_path / "states").iterdir()) == []


def test_states_that_do_not_fit_into_memory_go_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = []
    made = session.SlotStore

    def noted(folder: Path | None, *rest: Any) -> Any:
        folders.append(folder)
        return made(folder, *rest)

    monkeypatch.setattr(session, "SlotStore", noted)
    monkeypatch.setattr(place.tempfile, "gettempdir", lambda: str(tmp_path))
    memory = run(MANY)
    assert folders == [None, None]
    # Four rounds of twelve clients with two rows of 140 numbers are more than half of this.
    monkeypatch.setattr(place, "_available_memory", lambda: 100_000)
    disk = run(MANY)
    assert [tmp_path in folder.parents for folder in folders[2:]] == [True, True]
    assert same(memory, disk)


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from fedsparse import models, simulate
from fedsparse.cohort.examples import Examples
from fedsparse.compress import TopK
from fedsparse.data import Dataset
from fedsparse.data.partition import partition
from fedsparse.strategies.scafcom import Scafcom

x = np.random.default_rng(0).standard_normal((50, 2000)).astype(np.float32)
data = Dataset("random", x, np.arange(50) % 10, x[:2], np.arange(2), classes=10)

def go(rounds, where):
    return simulate(
        Scafcom(lr=0.1, steps=1, uplink=TopK(0.01)),
        examples=Examples.of(data, partition("bootstrap", data, 10**6, 0, size=2)),
        model=models.build("linear", (2000,), 10, 0), rounds=rounds, cohort=100, state_dir=where,
        keep_clients=False,
    )

go(1, None)
lines = Path("/proc/self/status").read_text().splitlines()
used = next(int(line.split()[1]) for line in lines if line.startswith("VmData"))
limit = (used << 10) + (240 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
where = sys.argv[1] if len(sys.argv) > 1 else None
from fedsparse.errors import ResourceError
try:
    print("done", len(go(18, where).history))
except ResourceError as error:
    print(error)
"""


@pytest.mark.slow
def test_more_states_than_memory_need_a_disk_and_work_there(tmp_path: Path) -> None:
    """1,800 clients with two rows of 80 kB each, in a process that may have 240 MB more."""

    def output(*words: str) -> str:
        command = [sys.executable, "-c", LIMITED, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    assert "engine.state_dir" in output()
    assert output(str(tmp_path)) == "done 18\n"
