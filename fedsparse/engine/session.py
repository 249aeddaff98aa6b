"""A run with its workers and its memory: everything that a plan needs to go round by round."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fedsparse import compress, rng
from fedsparse.aggregate import SPARSE, name_of
from fedsparse.compress import Compressor, Identity
from fedsparse.engine.block import BUFFERS, BlockJob, Workload
from fedsparse.engine.blocks import Blocks
from fedsparse.engine.calls import as_array
from fedsparse.engine.checks import check_same
from fedsparse.engine.dispatch import Dispatcher
from fedsparse.engine.eligible import Eligible, eligible_of
from fedsparse.engine.exchange import context_of
from fedsparse.engine.gossip.rounds import GossipRounds
from fedsparse.engine.gossip.workers import WorkerGossip
from fedsparse.engine.place import choose_folder, expected_bytes, fits_memory
from fedsparse.engine.plan import Plan
from fedsparse.engine.pool import Pool
from fedsparse.engine.server import Server
from fedsparse.engine.slab import StateSpec
from fedsparse.engine.slots import SlotStore
from fedsparse.engine.suits import check_calibration, check_cohort, check_optimum, check_topology
from fedsparse.errors import ConfigError, ProtocolError
from fedsparse.gossip import Gossip
from fedsparse.message import Payload
from fedsparse.protocol import Context, State
from fedsparse.registry import strategies

__all__ = ["Engine", "Place", "Session", "check_compressors", "default_block", "first_rows", "specs_of"]

Engine: TypeAlias = Server | GossipRounds
"""What makes the rounds."""

_MOST, _LEAST = 32, 5
"""Clients of a block, at most and at least: products gain from company, but the most is soon gained."""

_PROCESSOR, _ACCELERATOR = 72 << 20, 8 << 30
"""Bytes of a block: what is still partly in cache; what any accelerator has."""


@dataclass(frozen=True)
class Place:
    """Where a run keeps its clients' states.

    Attributes:
        requested: the folder asked for; ``None`` leaves it to the rule of :func:`choose_folder`.
        fallback: a folder on a disk, used where shared memory is short.
    """

    requested: Path | None
    fallback: Path


PATIENCE, _FIRST = 60.0, 300.0
"""Seconds before a silent worker is given up, and those in the first phase."""


def default_block(cohort: int, client_bytes: int, accelerator: bool = False) -> int:
    """Clients that a worker trains together: a fixed rule of model and cohort, never of the number of workers.

    Args:
        cohort: clients of a round.
        client_bytes: memory that one of them takes while it trains.
        accelerator: they train on one, which wants much to do at once.
    """
    fitting = max(1, (_ACCELERATOR if accelerator else _PROCESSOR) // max(1, client_bytes))
    if accelerator:
        return min(cohort, fitting)
    # Clients of small models are soon done: fewer, larger calls, even if that is too few for many workers.
    small = fitting >= _MOST
    parts, least = (2, _LEAST) if small else (4, 1)
    size = min(fitting, _MOST, max(-(-cohort // parts), least))
    blocks = -(-cohort // size)
    # Of an odd number of blocks, one would leave the other of two workers without work.
    return -(-cohort // (blocks + 1)) if blocks > 1 and blocks % 2 else size


class Session:
    """A plan on a pool of workers; use it as a context manager.

    Args:
        plan: what is run.
        recipe: makes the workload from shared arrays; sent to every worker.
        arrays: the data set.
        pool: the workers.
        place: where client states lie.
        note: is told what people should know, a line at a time.
        workload: the driver's own copy, where it was made already.
        patience: seconds that a block may take, or ten times the slowest so far if that is more; in the first phase,
            in which workers start, at least five minutes.
    """

    def __init__(
        self,
        plan: Plan,
        recipe: Callable[[Mapping[str, np.ndarray]], Workload],
        arrays: Mapping[str, np.ndarray],
        pool: Pool,
        place: Place,
        note: Callable[[str], None],
        workload: Workload | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.workload = workload or recipe(arrays)
        check_compressors(plan, self.workload.start.x.numel())
        who = strategies.name_of(type(plan.strategy))
        check_cohort(plan, self.workload, who)
        check_topology(plan, who)
        eligible = eligible_of(plan, self.workload)
        check_optimum(plan.strategy, who, self.workload, eligible)
        check_calibration(plan, self.workload)
        states, helds = first_rows(plan, self.workload, eligible)
        specs, held_specs = specs_of(states), specs_of(helds)
        expected = expected_bytes((*specs, *held_specs), self.workload.clients, plan.cohort, plan.rounds)
        hint = min(self.workload.clients, plan.rounds * plan.cohort) + 2 * plan.cohort
        with ExitStack() as stack:
            folder = None
            if place.requested is not None or not (pool.threads and fits_memory(expected)):
                folder = choose_folder(place.requested, expected, place.fallback)
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self._states = SlotStore(folder and folder / "clients", specs, hint, states)
            stack.callback(self._states.close)
            self._helds = SlotStore(folder and folder / "held", held_specs, hint, helds)
            stack.callback(self._helds.close)
            job = BlockJob(
                strategy=plan.strategy,
                workload=recipe,
                seed=plan.seed,
                rounds=plan.rounds,
                run=plan.run,
                encode=plan.encode,
                states=(self._states.door, specs, states),
                helds=(self._helds.door, held_specs, helds),
                buffers=plan.strategy.buffers,
                eligible=eligible,
            )
            pool.setup(job, arrays)
            self.dispatcher = Dispatcher(
                pool, first_deadline=max(_FIRST, patience), least_deadline=patience, note=note
            )
            blocks = Blocks(self.dispatcher, self._states, self._helds, plan.block)
            made: Engine = (
                Server(plan, self.workload, blocks, self._states, self._helds)
                if plan.matrices is None
                else WorkerGossip(plan, self.workload, blocks, self._states)
            )
            self.engine = made
            if plan.starts is not None:
                _begin_apart(plan, self.workload, eligible, self._states)
            self._closing = stack.pop_all()

    def clients(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Ids ``[n]`` of the clients that have a state, ascending, and their rows ``[n, ...]`` by name."""
        known = self._states.known()
        return known, self._states.rows(known)

    def begin(self, done: int) -> None:
        """The rounds begin: workers need no waiting for, they are given calls as they come."""

    def saved(self, number: int) -> None:
        """A checkpoint was made: workers keep nothing that could go."""

    def close(self) -> None:
        """Gives the memory back; the pool stays open. Twice does no harm."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_compressors(plan: Plan, size: int) -> None:
    """Refuses an uplink of the wrong class, and a rule that cannot work with what it gets.

    Raises:
        ConfigError: says why.
    """
    strategy, rule = plan.strategy, plan.aggregator
    who = strategies.name_of(type(strategy))
    if rule.least > plan.cohort:
        raise ConfigError(
            f"aggregator={name_of(rule)}: needs at least {rule.least} messages, and cohort={plan.cohort}"
        )
    for direction in ("uplink", "downlink"):
        compressor = getattr(strategy, direction, None)
        if isinstance(compressor, Compressor):
            wanted = getattr(strategy, f"{direction}_class")
            compress.require(compressor, wanted, size, who, direction)
    if isinstance(getattr(strategy, "downlink", None), Compressor) and not isinstance(
        plan.downlink, Identity
    ):
        raise ConfigError(
            f"downlink={compress.name_of(type(plan.downlink))}: {who} compresses what it says itself; "
            f"give its own field, {type(strategy).__name__}(downlink=...)"
        )
    uplink = getattr(strategy, "uplink", None)
    if not isinstance(uplink, Compressor):
        return
    if not rule.linear and isinstance(_sample(uplink, plan.seed, size), SPARSE):
        raise ConfigError(
            f"aggregator={name_of(rule)}: needs dense messages, but uplink={compress.name_of(type(uplink))} leaves "
            "out most coordinates, so the middle value of almost every one would be zero; use uplink=identity, or "
            "aggregator=mean"
        )


@dataclass(frozen=True)
class _Streams:
    """Streams of nobody, for a trial."""

    seed: int

    def rng(self, purpose: str) -> rng.Streams:
        return rng.Streams(self.seed, f"trial:{purpose}", 0, [rng.NOBODY])


def _sample(uplink: Compressor, seed: int, size: int) -> Payload:
    """What messages of a compressor are like."""
    return uplink.compress(torch.ones(1, size), _Streams(seed))


def first_rows(
    plan: Plan, workload: Workload, eligible: Eligible, client: int | None = None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The first row of each state of a client, and of what it holds where each holds its own.

    Args:
        plan: what is run.
        workload: what clients optimise.
        eligible: who can take part.
        client: whose, where clients do not all start from the same parameters.

    Raises:
        ProtocolError: a value has no leading axis of 1.
    """
    strategy, start, who = plan.strategy, workload.start, type(plan.strategy).__name__
    ctx, own = _before(plan, workload, eligible), isinstance(plan.strategy, Gossip)
    if client is not None and plan.starts is not None:
        x = plan.starts(client)
        check_same(who, f"start of client {client},", {"x": x}, {"x": start.x})
        start = replace(start, x=x)
    first = dict(strategy.init("client", start, ctx))
    if len(start.buffers) and (strategy.buffers == "local" or (own and strategy.buffers == "average")):
        first[BUFFERS] = start.buffers[None]
    held = dict(strategy.init("held", start, ctx)) if strategy.hears() else {}
    states, helds = _checked(who, "client", first), _checked(who, "held", held)
    return states, helds if strategy.held == "own" else {}


def _begin_apart(plan: Plan, workload: Workload, eligible: Eligible, states: SlotStore) -> None:
    """Writes the first rows of clients that do not all start from the same parameters."""
    for client in range(workload.clients):
        first, _ = first_rows(plan, workload, eligible, client)
        states.write(np.array([client]), {name: row[None] for name, row in first.items()})


def _before(plan: Plan, workload: Workload, eligible: Eligible) -> Context:
    """The circumstances before the first round."""
    return context_of(plan, workload, eligible, 0, "init", np.zeros(0, dtype=np.int64))


def _checked(who: str, role: str, first: State) -> dict[str, np.ndarray]:
    for name, row in first.items():
        if not isinstance(row, Tensor) or row.dim() < 1 or row.shape[0] != 1:
            what = f"of shape {tuple(row.shape)}" if isinstance(row, Tensor) else f"as {type(row).__name__}"
            raise ProtocolError(
                f"{who}: init('{role}') gave '{name}' {what}; a client's value is a tensor with a leading axis of 1, "
                "as torch.zeros_like(start.x)[None]"
            )
    return {name: as_array(row[0]) for name, row in first.items()}


def specs_of(first: Mapping[str, np.ndarray]) -> tuple[StateSpec, ...]:
    """What the rows are, of which these are the first."""
    return tuple(StateSpec(name, row.shape, str(row.dtype)) for name, row in first.items())
