"""A run with its workers and its memory: everything that a plan needs to go round by round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from fedsparse import compress
from fedsparse.compress import Compressor
from fedsparse.engine.block import BUFFERS, BlockJob, Workload
from fedsparse.engine.calls import as_array
from fedsparse.engine.dispatch import Dispatcher
from fedsparse.engine.place import choose_folder, expected_bytes
from fedsparse.engine.pool import Pool
from fedsparse.engine.server import Plan, Server
from fedsparse.engine.slab import StateSpec
from fedsparse.engine.slots import SlotStore
from fedsparse.errors import ConfigError
from fedsparse.protocol import Context, State, Strategy

__all__ = ["Place", "Session", "default_block"]

_SMALL, _LARGE = 25, 5
"""Clients of a block: batched dense layers gain from company, everything else is trained one by one anyway."""


@dataclass(frozen=True)
class Place:
    """Where a run keeps its clients' states.

    Attributes:
        requested: the folder asked for; ``None`` leaves it to the rule of :func:`choose_folder`.
        fallback: a folder on a disk, used where shared memory is short.
    """

    requested: Path | None
    fallback: Path


def default_block(cohort: int, together: bool) -> int:
    """Clients that a worker trains together: a fixed rule of model and cohort, never of the number of workers."""
    return max(1, min(_SMALL if together else _LARGE, -(-cohort // 4)))


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
    ) -> None:
        self.workload = workload or recipe(arrays)
        check_compressors(plan, self.workload.start.x.numel())
        strategy, start = plan.strategy, self.workload.start
        ctx = Context(
            seed=plan.seed,
            round=0,
            rounds=plan.rounds,
            phase="init",
            ids=torch.zeros(0, dtype=torch.int64),
            population=self.workload.clients,
            total=self.workload.total,
            layout=start.layout,
        )
        first = dict(strategy.init("client", start, ctx))
        if strategy.buffers == "local" and len(start.buffers):
            first[BUFFERS] = start.buffers[None]
        held = dict(strategy.init("held", start, ctx)) if strategy.hears() and strategy.held == "own" else {}
        specs, helds = _specs(strategy, first), _specs(strategy, held)
        expected = expected_bytes((*specs, *helds), self.workload.clients, plan.cohort, plan.rounds)
        folder = choose_folder(place.requested, expected, place.fallback)
        hint = min(self.workload.clients, plan.rounds * plan.cohort) + 2 * plan.cohort
        self._states = SlotStore(folder / "clients", specs, hint, _first_rows(first))
        self._helds = SlotStore(folder / "held", helds, hint, _first_rows(held))
        self._folder = folder
        job = BlockJob(
            strategy=strategy,
            workload=recipe,
            seed=plan.seed,
            rounds=plan.rounds,
            run=plan.run,
            encode=plan.encode,
            states=(self._states.folder, specs, _first_rows(first)),
            helds=(self._helds.folder, helds, _first_rows(held)),
            buffers=strategy.buffers,
        )
        pool.setup(job, arrays)
        self.dispatcher = Dispatcher(pool, note=note)
        self.server = Server(plan, self.workload, self.dispatcher, self._states, self._helds)

    def clients(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Ids ``[n]`` of the clients that have a state, ascending, and their rows ``[n, ...]`` by name."""
        known = self._states.known()
        return known, self._states.rows(known)

    def close(self) -> None:
        """Gives the memory back; the pool stays open."""
        self._states.close()
        self._helds.close()
        if self._folder.exists():
            self._folder.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_compressors(plan: Plan, size: int) -> None:
    """Refuses an uplink of the wrong class, and rules that sparse messages make worthless.

    Raises:
        ConfigError: says why.
    """
    strategy = plan.strategy
    uplink = getattr(strategy, "uplink", None)
    if not isinstance(uplink, Compressor):
        return
    compress.require(uplink, strategy.uplink_class, size, type(strategy).__module__.rsplit(".", 1)[-1])
    if not plan.aggregator.linear and not isinstance(uplink, compress.Identity):
        raise ConfigError(
            f"aggregator={type(plan.aggregator).__name__.lower()}: needs dense messages, but uplink="
            f"{type(uplink).__name__.lower()} leaves out most coordinates, so the middle value of almost every one would "
            "be zero; use uplink=identity, or aggregator=mean"
        )


def _specs(strategy: Strategy, first: State) -> tuple[StateSpec, ...]:
    for name, row in first.items():
        if not isinstance(row, Tensor) or row.dim() < 1 or row.shape[0] != 1:
            raise ConfigError(
                f"{type(strategy).__name__}: init gave '{name}' of shape {tuple(getattr(row, 'shape', ()))}; a client's "
                "value has a leading axis of 1, as in torch.zeros_like(start.x)[None]"
            )
    return tuple(StateSpec(n, tuple(r.shape[1:]), str(as_array(r).dtype)) for n, r in first.items())


def _first_rows(first: State) -> dict[str, Any]:
    return {name: as_array(row[0]) for name, row in first.items()}
