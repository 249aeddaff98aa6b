"""The same configuration as a simulation and on devices, and what differs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedsparse import config
from fedsparse.checkpoint import read
from fedsparse.flower.letters import Stamp
from fedsparse.flower.server_app import run_on
from fedsparse.flower.versions import Versions
from fedsparse.recorded import run
from fedsparse.runfolder import read_rounds
from tests.flower.loopback import Loopback

CLIENTS = 4
SMALL = ["rounds=3", "quiet=true", "eval_every=3"]
QUICK = ["engine=flower", "wire=encode", "engine.wait=5", "engine.patience=10", "engine.poll=0.001"]


@dataclass(frozen=True)
class Ended:
    """What a run ends with.

    Attributes:
        records: of each round, without wall times and Flower's own bytes.
        checkpoint: the last one.
        clients: rows of the clients' states, by client and name.
    """

    records: list[dict[str, Any]]
    checkpoint: Mapping[str, np.ndarray]
    clients: dict[int, dict[str, np.ndarray]]


def small(words: tuple[str, ...]) -> list[str]:
    """A few rounds of a small model."""
    model = [] if any(word.startswith("model=") for word in words) else ["model.hidden=[8]"]
    return [f"clients={CLIENTS}", *SMALL, *model, *words]


def simulated(folder: Path, *words: str) -> Ended:
    """The run as a simulation; its folder is ``folder/simulated``."""
    run(config.parse([*small(words), f"runs={folder}", "name=simulated", "engine=local"]))
    arrays = last(folder / "simulated")
    rows = {k.removeprefix("client."): v for k, v in arrays.items() if k.startswith("client.")}
    clients = {int(c): {k: v[i] for k, v in rows.items()} for i, c in enumerate(arrays["clients"])}
    return Ended(records(folder / "simulated"), arrays, clients)


def deployed(
    folder: Path,
    *words: str,
    grid: Loopback | None = None,
    prepare: Callable[[Loopback], None] = lambda _: None,
) -> tuple[Ended, Loopback]:
    """The run on devices within this process; its folder is ``folder/deployed``."""
    grid = grid or Loopback(folder, CLIENTS)
    prepare(grid)
    run_on(grid, [*QUICK, *small(words), f"runs={folder}", "name=deployed"])
    return ended(folder / "deployed", folder), grid


def ended(run_folder: Path, devices: Path) -> Ended:
    """What a run on devices ended with, each of which has its folder in ``devices``."""
    arrays = last(run_folder)
    return Ended(records(run_folder), arrays, states(arrays, devices))


def states(arrays: Mapping[str, np.ndarray], devices: Path) -> dict[int, dict[str, np.ndarray]]:
    """The accepted state of each device that has one."""
    run_number, found = int(arrays["run"][0]), {}
    for at, client in enumerate(arrays["clients"].tolist()):
        versions = Versions(devices / f"device-{client}" / f"{run_number:016x}-{client}", "state")
        stamp = Stamp(int(arrays["client.round"][at]), int(arrays["client.number"][at]))
        found[client] = {k: v[0] for k, v in versions.read(stamp).items()} if versions.stamps() else {}
    return found


def last(run_folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a run's last checkpoint."""
    return read(max((run_folder / "checkpoint").iterdir()))[1]


def records(run_folder: Path) -> list[dict[str, Any]]:
    """The records of a run, of what equal runs have alike."""
    return [{k: v for k, v in r.items() if k not in ("wall_s", "flower")} for r in read_rounds(run_folder)]


def assert_same(one: Ended, other: Ended) -> None:
    """Records, server's state, what clients hold in common, and each client's state: to the bit."""
    assert len(one.records) == len(other.records)
    for mine, theirs in zip(one.records, other.records, strict=True):
        differing = {key: (value, theirs[key]) for key, value in mine.items() if value != theirs[key]}
        assert differing == {}, f"round {mine['round']}: {differing}"
    for name, value in one.checkpoint.items():
        if name.startswith(("server.", "held.", "downlink.", "ledger.", "buffers", "now_ns")):
            np.testing.assert_array_equal(value, other.checkpoint[name], err_msg=name)
    assert one.clients.keys() == other.clients.keys()
    for client, rows in one.clients.items():
        assert rows.keys() == other.clients[client].keys()
        for name, row in rows.items():
            np.testing.assert_array_equal(
                row, other.clients[client][name], err_msg=f"client {client}, {name}"
            )
