"""What a run is made of: every key of the command line, with its default, its meaning and its range."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedsparse.errors import ConfigError
from fedsparse.options import option, validate
from fedsparse.sinks import named

__all__ = ["Choice", "Flower", "Local", "Ray", "RunConfig"]


@dataclass(frozen=True)
class Choice:
    """A member of a group and its options.

    Attributes:
        name: e.g. ``"scafcom"``, or ``package.module:Class``.
        options: plain values (numbers, text, lists) by option; schedules as text.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Local:
    """Threads of this process: starts at once; for laptops and debugging."""

    workers: int | None = option(
        None, "how many; null: one for each core, on an accelerator one", at_least=1, at_most=4096
    )
    block: int | None = option(
        None, "clients trained together; null: by the model and the cohort", at_least=1
    )
    state_dir: str | None = option(
        None, "folder of the clients' states; null: memory, or the run's folder where that is short"
    )
    patience: float = option(
        60.0,
        "seconds that a block may take, or ten times the slowest so far if that is more",
        above=0,
        at_most=1e7,
    )


@dataclass(frozen=True)
class Ray(Local):
    """Worker processes under Ray: one for each core, or those of a cluster."""

    address: str | None = option(None, "an existing cluster, e.g. 10.0.0.1:6379; null: one of the run's own")


@dataclass(frozen=True)
class Flower:
    """Devices, through Flower: for its apps, see docs/flower.md."""

    clock: str = option(
        "virtual",
        "what decides who is late: the network model, or how long answers really take",
        choices=("virtual", "real"),
    )
    patience: float = option(
        600.0, "seconds after which a device that has not answered is late", above=0, at_most=1e7
    )
    wait: float = option(
        300.0, "seconds in which devices must have come before the first round", above=0, at_most=1e7
    )
    least: int | None = option(None, "devices to begin with; null: all clients", at_least=1)
    poll: float = option(0.2, "seconds between two looks for answers", above=0, at_most=60)


@dataclass(frozen=True)
class RunConfig:
    """A run, resolved. As made by :func:`~fedsparse.config.parse`, every group has all its options.

    Raises:
        ConfigError: a value is out of range.
    """

    strategy: Choice = option(Choice("fedavg"), "the algorithm")
    uplink: Choice | None = option(None, "compressor of what clients send; default: the strategy's own")
    downlink: Choice | None = option(None, "compressor of what the server sends")
    aggregator: Choice = option(Choice("mean"), "how the messages become one vector")
    topology: Choice = option(Choice("star"), "who hears whom; star: a server, all others: gossip")
    mixing: Choice | None = option(
        None, "gossip: weights of a graph without any; default: the topology's usual rule"
    )
    data: Choice = option(Choice("digits"), "the data set")
    partition: Choice = option(Choice("dirichlet"), "which client has which examples")
    model: Choice = option(Choice("mlp"), "what is trained")
    trainer: Choice | None = option(None, "what keeps models sparse while clients train; default: nothing")
    sampler: Choice = option(Choice("uniform"), "who takes part in a round")
    network: Choice = option(Choice("constant"), "bandwidth, delay and speed of the clients")
    engine: Choice = option(Choice("ray"), "what the clients are trained on")
    device: str = option("cpu", "what clients train on: cpu, cuda, or cuda:0 and so on")
    faults: Mapping[str, Any] = option({}, "absent clients and lost messages")

    clients: int = option(100, "registered clients N", at_least=1, at_most=10_000_000)
    cohort: int = option(
        10,
        "clients of a round; unless given, all that can take part where those are fewer, or strategy or sampler "
        "needs all",
        at_least=1,
    )
    rounds: int = option(200, "rounds", at_least=1, at_most=100_000_000)
    init: str = option(
        "common",
        "gossip: whether all clients begin with the same weights, or each with its own",
        choices=("common", "independent"),
    )
    judged: int | None = option(
        None, "gossip: clients whose own models are evaluated, evenly chosen; null: all", at_least=1
    )
    batch: int = option(20, "examples of a minibatch; 0: all of the client's", at_least=0, at_most=10_000_000)
    examples: str | None = option(
        None, "training examples that are used: how many, or FROM:TO of an order drawn by the seed; null: all"
    )
    validation: float = option(
        0.0,
        "share of the training examples held back from the clients, for metrics named validation_...",
        at_least=0,
        below=1,
    )
    personal: float = option(
        0.0,
        "share of each client's examples that it is tested on by itself, for metrics named personal_...",
        at_least=0,
        below=1,
    )
    calibration: int = option(
        0,
        "training examples on which BatchNorm statistics of an evaluated model are estimated; 0: those of training",
        at_least=0,
    )
    seed: int = option(0, "all random numbers follow from it", at_least=0, at_most=2**63 - 1)
    target: float | None = option(None, "value of the metric at which rounds, bytes and seconds are noted")
    eval_every: int | None = option(
        None, "rounds between evaluations; null: chosen by the number of rounds", at_least=1
    )
    checkpoint_every: int | None = option(
        None, "rounds between checkpoints; null: ten in a run, and one at its end", at_least=1
    )
    deadline: float | None = option(
        None, "longest round in virtual seconds; null: waits for all", above=0, at_most=1e9
    )
    over_select: float = option(0.0, "share of clients drawn beyond the cohort", at_least=0, at_most=100)
    wire: str = option(
        "count", "bytes of messages: computed, or really encoded and decoded", choices=("count", "encode")
    )
    data_dir: str | None = option(
        None, "folder of the data sets; null: the environment variable FEDSPARSE_DATA"
    )
    runs: str = option("runs", "folder in which the run makes its own")
    name: str | None = option(None, "name of the run's folder; null: made from the configuration")
    resume: str | None = option(None, "folder of a run to continue")
    quiet: bool = option(False, "no progress, only the result")
    sinks: list[str] | str = option([], "where figures go besides the folder: tensorboard, mlflow, or [both]")

    def __post_init__(self) -> None:
        validate(self)
        if self.cohort > self.clients:
            raise ConfigError(
                f"cohort={self.cohort}: must be at most the number of clients, clients={self.clients}; "
                "lower cohort or raise clients"
            )
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            raise ConfigError(f"device={self.device}: must be cpu, cuda, or cuda:0 and so on")
        if self.examples is not None and not re.fullmatch(r"(\d+:)?\d+", self.examples):
            raise ConfigError(
                f"examples={self.examples}: must be how many, such as 6000, or FROM:TO, such as 500:6000"
            )
        named(self.sinks)
        if self.name is not None and not re.fullmatch(r"[^/\0]*[^/\0.][^/\0]*", self.name):
            raise ConfigError(
                f"name={self.name}: must be the name of one folder; where it lies is said by runs"
            )
