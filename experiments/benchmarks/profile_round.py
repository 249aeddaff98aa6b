"""Where a round's wall time goes: milliseconds a round and part, and the thread that spends them.

    python -m experiments.benchmarks.profile_round [workload] [--workers 2] [--rounds 30] [--engine ray] [--device cuda]

Workloads: w1 (MLP 784-200-200-10, FedAvg), w2 (the CNN of McMahan et al.), w3 (D-PSGD on a ring of 64, one step of 32
examples, w1's model), w3b (the same on a random 8-regular graph of 4,096, 9,706 parameters), w4 (SCAFCOM, top-k 1 %, on
w1's model), tiny (w1 with 16 inputs and 8 hidden units: the cost of a round without its arithmetic).
Each part is a function of fedsparse with a clock around it, less the parts that it calls: the rows of a thread add up
to the time it was busy. Medians over rounds, after some that warm up. With Ray only the driver is seen.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import numpy as np
import torch
from torch import nn

from fedsparse import models
from fedsparse.cohort.examples import Examples
from fedsparse.data.holdings import Stored
from fedsparse.engine.pool import Pool
from fedsparse.lazy import cached_property
from fedsparse.protocol import Strategy
from fedsparse.simulation import simulate
from fedsparse.strategies.dpsgd import DPSGD
from fedsparse.strategies.fedavg import FedAvg
from fedsparse.strategies.scafcom import Scafcom
from fedsparse.topologies.random_regular import RandomRegular
from fedsparse.topologies.ring import Ring

WARM_UP = 3

PARTS = {
    "round": ("engine.server:Server.round", "engine.gossip.rounds:GossipRounds.round"),
    "draw the cohort": ("engine.server:Server._draw", "engine.server:Server._exchange"),
    "say, and what it costs": ("engine.server:Server._say", "engine.server:Server._listen"),
    "traffic and clock": (
        "engine.downlink:Downlink.cost",
        "engine.traffic:Traffic.deliver",
        "engine.traffic:Traffic.book",
        "engine.traffic:Traffic.pass_time",
        "engine.traffic:Cost.of",
    ),
    "hand out": ("engine.dispatch:Dispatcher.run", "engine.dispatch:Dispatcher._hand_out"),
    "wait": ("engine.local:LocalPool.wait", "engine.ray_pool:RayPool.wait"),
    "slots": (
        "engine.slots:SlotStore.reserve",
        "engine.slots:SlotStore.slots_of",
        "engine.blocks:Blocks.commit",
    ),
    "block": ("engine.block:BlockRunner.__call__",),
    "read rows": ("engine.slab:SlabView.gather", "engine.slab:SlabView.lend"),
    "write rows": ("engine.slab:SlabView.scatter", "engine.slab:SlabView.keep"),
    "task": ("cohort.supervised:SupervisedWorkload.task",),
    "local steps": ("cohort.task:ClientTask.sgd",),
    "what they changed": ("protocol:Trained.x", "protocol:Trained.change", "protocol:Trained.mean_grad"),
    "strategy, clients": (
        "strategies.fedavg:FedAvg.client_update",
        "strategies.scafcom:Scafcom.client_update",
        "strategies.dpsgd:DPSGD.client_update",
        "strategies.dpsgd:DPSGD.aggregate",
    ),
    "select": ("compress.topk:TopK.compress",),
    "byte counts": ("wire.envelope:message_nbytes",),
    "finite": ("engine.checks:finite_rows",),
    "gates": ("engine.server:Server._open",),
    "tally": ("engine.tally:Tally.count", "engine.tally:Tally.classes"),
    "server step": ("engine.server:Server._step",),
    "mix": ("engine.gossip.kernel:mix",),
    "mail": (
        "engine.gossip.mail:Post.cut",
        "engine.gossip.rounds:GossipRounds._links",
        "engine.gossip.shelf:lay_out",
    ),
    "sum of messages": ("aggregate:Inbox.mean", "aggregate:Inbox.sum", "aggregate:_add_rows"),
}
"""The functions of each part; a function that a module imported by its name is marked there as well."""


@dataclass
class Clock:
    """Exclusive time of each part, by round and kind of thread."""

    spent: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    total: list[float] = field(default_factory=list)
    now: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    _own: threading.local = field(default_factory=threading.local)

    def mark(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with a clock around it."""

        @wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            inner, self._own.inner = getattr(self._own, "inner", 0.0), 0.0
            began = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                taken = time.perf_counter() - began
                main = threading.current_thread() is threading.main_thread()
                self.now["driver" if main else "workers", part] += taken - self._own.inner
                self._own.inner = inner + taken

        return timed

    def lap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function whose calls are the rounds."""

        @wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            self.now.clear()
            began = time.perf_counter()
            result = function(*arguments, **named)
            self.total.append(time.perf_counter() - began)
            for key in self.now.keys() | self.spent.keys():
                earlier = self.spent[key]
                earlier.extend([0.0] * (len(self.total) - 1 - len(earlier)))
                earlier.append(self.now.get(key, 0.0))
            return result

        return timed


def watch(clock: Clock) -> None:
    """Puts the clocks around every part."""
    for part, functions in PARTS.items():
        for name in functions:
            place, _, path = name.partition(":")
            module = importlib.import_module(f"fedsparse.{place}")
            *outer, last = path.split(".")
            owner: Any = getattr(module, outer[0]) if outer else module
            found = vars(owner)[last]
            if isinstance(found, cached_property):
                found.func = clock.mark(part, found.func)
            elif isinstance(found, staticmethod):
                setattr(owner, last, staticmethod(clock.mark(part, found.__func__)))
            elif outer:
                timed = clock.mark(part, found)
                setattr(owner, last, clock.lap(timed) if part == "round" else timed)
            else:
                _replace_everywhere(found, clock.mark(part, found), last)


def _replace_everywhere(function: Any, timed: Any, name: str) -> None:
    for path, module in list(sys.modules.items()):
        if path.startswith("fedsparse") and vars(module).get(name) is function:
            setattr(module, name, timed)


def examples(clients: int, inputs: tuple[int, ...]) -> Examples:
    """Random examples, 60 of each client."""
    generator, count = np.random.default_rng(0), 60 * clients
    x = generator.random((count, *inputs), dtype=np.float32)
    y = generator.integers(0, 10, count)
    held = Stored(np.arange(count), np.arange(0, count + 1, 60))
    return Examples(x, y, x[:10], y[:10], held)


def mlp(inputs: int, hidden: int) -> nn.Module:
    """Three dense layers."""
    return models.build("mlp", (inputs,), 10, 0, hidden=(hidden, hidden))


def workload(name: str) -> dict[str, Any]:
    """Arguments of :func:`fedsparse.simulation.simulate`."""
    fedavg: Strategy = FedAvg(lr=0.05, steps=3)
    if name == "w2":
        cnn = models.build("cnn", (1, 28, 28), 10, 0)
        return {"strategy": fedavg, "examples": examples(1000, (1, 28, 28)), "model": cnn, "cohort": 10}
    if name == "tiny":
        return {"strategy": fedavg, "examples": examples(1000, (16,)), "model": mlp(16, 8), "cohort": 50}
    if name in {"w3", "w3b"}:
        clients, hidden, graph = (64, 200, Ring()) if name == "w3" else (4096, 12, RandomRegular(degree=8))
        net, held = mlp(784, hidden), examples(clients, (784,))
        return {
            "strategy": DPSGD(lr=0.05),
            "examples": held,
            "model": net,
            "topology": graph,
            "batch": 32,
            "judged": 0,
        }
    strategy = {"w1": fedavg, "w4": Scafcom(lr=0.05, steps=3)}[name]
    return {"strategy": strategy, "examples": examples(1000, (784,)), "model": mlp(784, 200), "cohort": 50}


def pool(engine: str, workers: int) -> Pool:
    """The workers."""
    if engine == "local":
        from fedsparse.engine.local import LocalPool

        return LocalPool(workers)
    from fedsparse.engine.ray_pool import RayPool

    return RayPool(workers, store=1 << 30, preload=("fedsparse.engine.block", "fedsparse.simulation"))


def main() -> None:
    """Prints the table."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("profile_round", description=__doc__, formatter_class=form)
    parser.add_argument("workload", nargs="?", default="w1", choices=["w1", "w2", "w3", "w3b", "w4", "tiny"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--engine", default="local", choices=["local", "ray"])
    parser.add_argument("--device", default="cpu", help="what clients train on (cpu)")
    given = parser.parse_args()
    clock = Clock()
    watch(clock)
    torch.set_num_threads(1)
    running = pool(given.engine, given.workers)
    try:
        simulate(
            **{"batch": 20, **workload(given.workload)},
            rounds=given.rounds + WARM_UP + 1,
            pool=running,
            device=given.device,
            evaluate_every=1 << 30,
        )
    finally:
        running.close()
    laps = slice(WARM_UP, -1)  # the last round is evaluated
    print(
        f"{given.workload}, {given.workers} workers, {given.rounds} rounds: {_ms(clock.total[laps])} ms a round",
        _load(),
    )
    for thread in ("driver", "workers"):
        rows = {part: _ms(spent[laps]) for (who, part), spent in clock.spent.items() if who == thread}
        print(f"  {thread}, busy {sum(rows.values()):.2f} ms")
        for part in sorted(rows, key=list(PARTS).index):
            print(f"    {part:24} {rows[part]:8.2f}")


def _ms(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1e3, 2)


def _load() -> str:
    with open("/proc/loadavg", encoding="ascii") as file:  # noqa: PTH123 - not a file that is kept
        return f"(load {file.read().split()[0]})"


if __name__ == "__main__":
    main()
