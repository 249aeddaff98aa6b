"""The workloads of the comparison, and the programs that run them."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["MANY", "PROGRAMS", "WORKLOADS", "Entry", "Program", "Workload"]

MANY = "bootstrap"
"""The partition whose clients cost nothing while they are not in a cohort."""


@dataclass(frozen=True)
class Program:
    """A way to run federated learning.

    Attributes:
        name: what the command line calls it.
        title: what the table calls it.
        module: in ``rivals/``.
        home: the environment it needs; None for that of fedsparse.
        threads: cores it can use, 1 or 2.
        options: what the module is told.
        settings: further variables of its environment.
        pace: its timed rounds as a share of the others'.
        launch: how the interpreter is told of the module.
    """

    name: str
    title: str
    module: str
    home: str | None = None
    threads: int = 1
    options: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    pace: float = 1.0
    launch: tuple[str, ...] = ("-m",)


def _ours(name: str, title: str, engine: str, workers: int) -> Program:
    options = (f"engine={engine}", f"engine.workers={workers}")
    return Program(name, title, "ours", threads=workers, options=options)


_RAY = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
_FLOWER = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", **_RAY}
_TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m")
_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}

PROGRAMS = {
    program.name: program
    for program in (
        Program("plain", "plain PyTorch loop", "plain"),
        Program("plain-gossip", "plain loop over nodes", "gossip_loop"),
        Program("plain-contiguous", "plain loop, default layout", "plain", options=("--contiguous",)),
        _ours("local-1", "fedsparse, 1 thread", "local", 1),
        _ours("local-2", "fedsparse, 2 threads", "local", 2),
        _ours("ray-2", "fedsparse, Ray, 2 actors", "ray", 2),
        Program("flower", "Flower simulation, 4 actors", "flower", "flower", 2, settings=_FLOWER, pace=0.2),
        Program("pfl", "pfl-research", "pfl_research", "pfl"),
        Program("pfl-2", "pfl-research, 2 processes", "pfl_research", "pfl", 2, launch=_TORCHRUN),
        Program("fedjax", "FedJAX, 2 devices", "fedjax_program", "fedjax", 2, settings=_DEVICES),
    )
}
"""All programs, by name."""


@dataclass(frozen=True)
class Entry:
    """A line of a workload's table.

    Attributes:
        name: of the program.
        overrides: keys and values for fedsparse alone.
        suffix: what the title has more than the program's.
        same: it does the same work as the plain loop, so that the final models agree.
        clients: registered clients, if not the workload's.
    """

    name: str
    overrides: tuple[str, ...] = ()
    suffix: str = ""
    same: bool = True
    clients: int | None = None

    @property
    def key(self) -> str:
        """What tells it from the other lines."""
        return self.name + self.suffix

    @property
    def label(self) -> str:
        """What the head of a column calls it."""
        return self.suffix.strip(", :") or self.name

    @property
    def title(self) -> str:
        """What the table calls it."""
        return PROGRAMS[self.name].title + self.suffix


@dataclass(frozen=True)
class Workload:
    """Rounds of training of one model: local steps on each client of the cohort, then their average or gossip.

    Attributes:
        name: what the command line calls it.
        title: what it is.
        model: as fedsparse knows it, with its options.
        entries: the lines of its table, the one that all are compared with first.
        cohort: clients of a round.
        rounds: timed rounds.
        flop: floating point operations of a round, 0 where nobody counted them.
        clients: registered clients.
        against: keys of further lines that all are compared with.
        partition: who holds what.
        options: of the model.
        steps: local steps of a client.
        batch: examples of a step.
    """

    name: str
    title: str
    model: str
    entries: tuple[Entry, ...]
    cohort: int = 50
    rounds: int = 40
    flop: float = 0.0
    clients: int = 1000
    against: tuple[str, ...] = ()
    partition: str = "iid"
    options: tuple[str, ...] = ()
    steps: int = 3
    batch: int = 20


_RIVALS = ("flower", "pfl", "pfl-2", "fedjax")
_OURS = ("local-1", "local-2", "ray-2")
_ALL = tuple(Entry(name) for name in ("plain", *_OURS, *_RIVALS))
_IMAGES = (_ALL[0], Entry("plain-contiguous"), *_ALL[1:])
_MLP = ("model.hidden=[200,200]",)
_SCAFCOM = ("strategy=scafcom", "uplink=topk", "uplink.fraction=0.01")


def _scafcom(name: str) -> Entry:
    return Entry(name, _SCAFCOM, ": SCAFCOM", same=False)


def _gossip(name: str, topology: str, same: bool = True) -> Entry:
    return Entry(name, ("strategy=dpsgd", *topology.split()), same=same)


def _registered(clients: int) -> Entry:
    return Entry("local-2", suffix=f", {clients:,} clients", clients=clients, same=False)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "W1", "MLP 784-200-200-10, 199,210 parameters", "mlp", _ALL, flop=2.64e9,
            against=("flower", "pfl"), options=_MLP,
        ),
        Workload(
            "W2", "the CNN of McMahan et al., 1,663,370 parameters", "cnn", _IMAGES, cohort=10, rounds=8,
            flop=43.4e9, against=("plain-contiguous", "flower", "pfl"),
        ),
        Workload(
            "W2b", "LeNet-5, 61,706 parameters", "lenet5", _IMAGES, rounds=12, flop=6.79e9,
            against=("plain-contiguous", "flower", "pfl"),
        ),
        Workload(
            "W3", "D-PSGD on a ring, one step of 32 examples, model of W1", "mlp",
            (Entry("plain-gossip"), *(_gossip(name, "topology=ring") for name in _OURS)),
            cohort=64, clients=64, steps=1, batch=32, flop=2.44e9, options=_MLP,
        ),
        Workload(
            "W3b", "D-PSGD on a random 8-regular graph, one step of 32 examples, MLP of 9,706 parameters", "mlp",
            tuple(_gossip(name, "topology=random_regular topology.degree=8", same=False) for name in _OURS[:2]),
            cohort=4096, clients=4096, rounds=8, steps=1, batch=32, partition=MANY, options=("model.hidden=[12,12]",),
        ),
        Workload(
            "W4", "SCAFCOM with top-k of 1 % beside FedAvg, all bytes counted, model of W1", "mlp",
            (Entry("plain"), Entry("local-1"), Entry("local-2"), _scafcom("local-1"), _scafcom("local-2")),
            # So many rounds that in the median one nearly all clients have a state already: their first one is memory
            # that nobody has touched, which on virtual machines costs more than the round.
            rounds=160, flop=2.64e9, against=("local-1", "local-2"), options=_MLP,
        ),
        Workload(
            "W5", "registered clients of whom 50 train, model of W1", "mlp",
            tuple(_registered(clients) for clients in (1_000, 10_000, 100_000, 1_000_000)),
            flop=2.64e9, partition=MANY, options=_MLP,
        ),
    )
}  # fmt: skip
"""All workloads that are rounds of training, by name."""
