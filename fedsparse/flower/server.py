"""A server whose clients are devices, and the session that it lives in."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np
from flwr.app import ConfigRecord
from flwr.serverapp import Grid
from torch import Tensor

from fedsparse.cohort.supervised import SupervisedWorkload
from fedsparse.config import RunConfig
from fedsparse.engine.block import Workload
from fedsparse.engine.blocks import Answer
from fedsparse.engine.downlink import Said
from fedsparse.engine.exchange import Exchange
from fedsparse.engine.plan import Plan
from fedsparse.engine.server import Server
from fedsparse.engine.session import Engine
from fedsparse.engine.slab import Ids, StateSpec
from fedsparse.engine.slots import SlotStore
from fedsparse.engine.suits import check_cohort
from fedsparse.errors import ResourceError
from fedsparse.flower.elsewhere import Elsewhere
from fedsparse.flower.fleet import Fleet, ServerFleet
from fedsparse.flower.gossip_server import DeviceGossip
from fedsparse.flower.line import Meter
from fedsparse.flower.neighbourhood import Neighbourhood
from fedsparse.flower.post import Post
from fedsparse.flower.teller import Broadcast, Teller
from fedsparse.records import Record
from fedsparse.registry import strategies

__all__ = ["DeviceServer", "DeviceSession"]

_RUN_BITS = 63
"""Flower's whole numbers have a sign."""


class DeviceServer(Server):
    """The server of a run on devices.

    Args:
        plan: what is run.
        workload: for sizes and for evaluation.
        fleet: the devices.
        accepted: of each client, the exchange of which its answer was accepted last.
        overhead: what is on the way in Flower's own form.
    """

    def __init__(
        self,
        plan: Plan,
        workload: Workload,
        fleet: ServerFleet,
        accepted: SlotStore,
        overhead: Callable[[], Mapping[str, int]],
    ) -> None:
        check_cohort(plan, workload, strategies.name_of(type(plan.strategy)))
        super().__init__(plan, workload, fleet, accepted, SlotStore(None, (), 1, {}))
        self._fleet, self._overhead = fleet, overhead
        self._before: dict[str, Tensor] = {}

    def round(self, number: int) -> Record:
        """As in a simulation, with what was on the way in Flower's own form."""
        return replace(super().round(number), flower=self._overhead())

    def _say(self, exchange: Exchange) -> Said:
        self._before = self._downlink.whole(self.held)
        return super()._say(exchange)

    def _train(
        self, exchange: Exchange, at: Ids, said: Said, shared: Mapping[str, np.ndarray]
    ) -> list[Answer]:
        whole = self._downlink.whole(self.held)
        before = self._before if exchange.strategy.fresh else None
        self._fleet.say(Broadcast(exchange, said, whole, tuple(shared), before))
        return super()._train(exchange, at, said, shared)

    def arrays(self) -> dict[str, Any]:
        """Everything that the next round depends on, but what the devices keep."""
        news = {f"news.{name}": value for name, value in self._fleet.teller.news.arrays().items()}
        return {**super().arrays(), **news, "run": np.array([self.plan.run], dtype=np.int64)}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Goes on from what :meth:`arrays` gave."""
        super().restore(arrays)
        self.plan = replace(self.plan, run=int(arrays["run"][0]))
        teller = self._fleet.teller
        self._fleet.run = teller.run = self.plan.run
        teller.news.restore({n.removeprefix("news."): v for n, v in arrays.items() if n.startswith("news.")})


class DeviceSession:
    """A plan on devices; use it as a context manager.

    Args:
        plan: what is run.
        config: the configuration that devices make their part of.
        workload: for sizes and for evaluation.
        grid: Flower's way to the nodes.
        note: is told what people should know, a line at a time.
    """

    def __init__(
        self, plan: Plan, config: RunConfig, workload: Workload, grid: Grid, note: Callable[[str], None]
    ) -> None:
        self.workload: Workload = workload
        self._options = config.engine.options
        self._note = note
        # Unlike that of a simulation it is new each time: answers to an earlier run with the same seed are foreign.
        self._plan = replace(plan, run=secrets.randbits(_RUN_BITS), encode=True)
        with ExitStack() as stack:
            specs = tuple(StateSpec(name, (), "int64") for name in ("round", "number"))
            first = {"round": np.array(-1), "number": np.array(0)}
            accepted = SlotStore(None, specs, workload.clients, first)
            stack.callback(accepted.close)
            hello = ConfigRecord({"config": json.dumps(asdict(config))})
            self._post = Post(grid, workload.clients, hello, note, self._options["poll"])
            meter = Meter.of(os.environ)  # before anything is said, as the post counts from there
            self._gather()
            if config.partition.name == "own" and isinstance(workload, SupervisedWorkload):
                sizes = self._post.examples
                workload = self.workload = Elsewhere(workload, sum(sizes.values()), sizes)
            overhead = partial(_overhead, self._post, meter)
            self._fleet, self.engine = self._made(workload, accepted, overhead)
            self._closing = stack.pop_all()

    def _made(
        self, workload: Workload, accepted: SlotStore, overhead: Callable[[], Mapping[str, int]]
    ) -> tuple[Fleet, Engine]:
        plan, patience = self._plan, self._options["patience"]
        if plan.matrices is not None:
            neighbours = Neighbourhood(plan, self._post, workload, accepted, patience)
            return neighbours, DeviceGossip(plan, workload, neighbours, accepted, overhead)
        teller = Teller(plan.run, plan.strategy.hears() and plan.strategy.held == "shared")
        real = self._options["clock"] == "real"
        fleet = ServerFleet(plan, self._post, teller, workload, accepted, patience, real)
        return fleet, DeviceServer(plan, workload, fleet, accepted, overhead)

    def begin(self, done: int) -> None:
        """Devices need to go back no further than to the end of the ``done`` rounds."""
        if done:
            self._fleet.saved(done - 1)

    def _gather(self) -> None:
        """Waits for the devices.

        Raises:
            ResourceError: too few of them come.
        """
        wait, clients = self._options["wait"], self.workload.clients
        self._note(f"waiting for {clients} devices ...")
        there = self._post.gather(wait)
        if len(there) < min(self._options["least"] or clients, clients):
            raise ResourceError(
                f"{len(there)} of {clients} devices came within engine.wait={wait:g} s; start the others, wait longer, "
                "or begin with fewer (engine.least)"
            )
        self._note(f"{len(there)} of {clients} devices are there")

    def saved(self, number: int) -> None:
        """A checkpoint was made after round ``number``."""
        self._fleet.saved(number)

    def close(self) -> None:
        """Gives the memory back; twice does no harm."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _overhead(post: Post, meter: Meter | None) -> dict[str, int]:
    """What was on the way in Flower's own form since the last time, and on the line where that is measured."""
    counted = dict(post.counted) | (meter.passed() if meter else {})
    post.counted.clear()
    return counted
