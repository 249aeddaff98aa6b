"""Short runs of a strategy on the real engine, and what is left of them: arrays that can be compared bit for bit."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from fedsparse.aggregate import Mean
from fedsparse.compress import Identity
from fedsparse.data.problem import Problem
from fedsparse.engine.faults import Faults
from fedsparse.engine.local import LocalPool
from fedsparse.engine.plan import Plan
from fedsparse.engine.recipes import AnalyticRecipe
from fedsparse.engine.sampling import Uniform
from fedsparse.engine.session import Engine, Place, Session
from fedsparse.engine.suits import wants_all
from fedsparse.gossip import Gossip
from fedsparse.graphs import Matrices, Topology
from fedsparse.network import Deadline, Network
from fedsparse.protocol import Strategy
from fedsparse.records import Record
from fedsparse.registry import topologies

__all__ = ["Played", "Setting", "difference", "matrices", "opened", "played", "snapshot"]

Arrays = Mapping[str, np.ndarray]

SEED = 7

_WORDS = {
    "server.": "server state",
    "client.": "client state",
    "holder.": "what a client holds,",
    "held.": "what clients hold,",
}


@dataclass(frozen=True)
class Setting:
    """How a trial is run.

    Attributes:
        rounds: how many.
        cohort: clients of a round; all of them where the strategy needs all.
        block: clients that a worker trains together.
        workers: threads.
        encode: really encode and decode every message.
        faults: messages that get lost.
        topology: who hears whom, of a strategy for gossip; a ring unless given.
        starts: the initial parameters ``[d]`` of a client, in gossip; the same for all unless given.
    """

    rounds: int = 4
    cohort: int = 6
    block: int = 5
    workers: int = 1
    encode: bool = False
    faults: Faults = field(default_factory=Faults)
    topology: Topology | None = None
    starts: Callable[[int], Tensor] | None = None


@dataclass(frozen=True)
class Played:
    """A trial: everything that the next round depends on, before the first round and after each; and the records."""

    shots: list[Arrays]
    records: list[Record]


@contextmanager
def opened(strategy: Strategy, problem: Problem, setting: Setting) -> Iterator[Session]:
    """A session before its first round."""
    plan = Plan(
        strategy=strategy,
        seed=SEED,
        rounds=setting.rounds,
        cohort=problem.clients if wants_all(strategy) else setting.cohort,
        block=setting.block,
        sampler=Uniform(),
        aggregator=Mean(),
        downlink=Identity(),
        network=Network(profile="none"),
        deadline=Deadline(),
        faults=setting.faults,
        encode=setting.encode,
        evaluate=lambda _: False,
        run=SEED,
        matrices=matrices(strategy, problem.clients, setting),
        starts=setting.starts,
    )
    pool = LocalPool(setting.workers)
    place = Place(None, Path(tempfile.gettempdir()))
    try:
        with Session(plan, AnalyticRecipe(problem), {}, pool, place, lambda _: None) as session:
            yield session
    finally:
        pool.close()


def matrices(strategy: Strategy, clients: int, setting: Setting) -> Matrices | None:
    """Who hears whom in a trial; ``None`` where there is a server."""
    if not isinstance(strategy, Gossip):
        return None
    return Matrices(setting.topology or topologies.get("ring")(), clients, seed=SEED)


def played(strategy: Strategy, problem: Problem, setting: Setting | None = None) -> Played:
    """Runs a trial from its first round to its last."""
    setting = setting or Setting()
    with opened(strategy, problem, setting) as session:
        made = Played([snapshot(session.engine)], [])
        for number in range(setting.rounds):
            made.records.append(session.engine.round(number))
            made.shots.append(snapshot(session.engine))
    return made


def snapshot(engine: Engine) -> Arrays:
    """Copies of all arrays of a checkpoint: states, replicas, counted bytes."""
    return {name: _whole(value) for name, value in engine.arrays().items()}


def _whole(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value.copy()
    out: np.ndarray = np.empty(value.shape, value.dtype)
    first = 0
    for piece in value.chunks():
        out[first : first + len(piece)] = piece
        first += len(piece)
    return out


def difference(one: Arrays, other: Arrays) -> str:
    """In which bits two snapshots differ, in words; empty where they are equal."""
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other:
            return f"{_called(name)} is there only once"
        a, b = one[name], other[name]
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"{_called(name)} is {a.shape} {a.dtype} and {b.shape} {b.dtype}"
        if a.tobytes() != b.tobytes():
            return f"{_called(name)} differs{_by(a, b)}"
    return ""


def _by(a: np.ndarray, b: np.ndarray) -> str:
    if not np.issubdtype(a.dtype, np.floating):
        return ""
    return f" by up to {float(np.abs(a - b).max()):.2g}, of values up to {float(np.abs(a).max()):.2g}"


def _called(name: str) -> str:
    for prefix, word in _WORDS.items():
        if name.startswith(prefix):
            return f"{word} '{name.removeprefix(prefix)}'"
    if name.startswith(("ledger.", "downlink.")):
        return "the count of bytes"
    return {"clients": "the list of clients that have a state"}.get(name, f"'{name}'")
