"""What is run: everything that a result depends on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fedsparse.aggregate import Aggregator
from fedsparse.cohort.calibration import Calibration
from fedsparse.compress import Compressor
from fedsparse.engine.faults import Faults
from fedsparse.engine.sampling import Sampler
from fedsparse.graphs import Matrices
from fedsparse.network import Deadline, Network
from fedsparse.protocol import Strategy

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """What is run; everything here is part of the result, the number of workers is not.

    Attributes:
        strategy: the algorithm.
        seed: names all random streams.
        rounds: how many.
        cohort: messages that the server waits for in a round.
        block: clients that a worker trains together.
        sampler: draws the cohort.
        aggregator: rule for robust message names.
        downlink: compressor of broadcasts.
        network: seconds for bytes and examples.
        deadline: what keeps slow clients from holding up a round.
        faults: absent clients, lost messages.
        encode: really encode and decode every message.
        evaluate: whether a round ends with an evaluation.
        run: 64-bit number of the run, for envelopes.
        matrices: who hears whom in gossip, and how it is mixed; ``None``: there is a server.
        starts: the initial parameters ``[d]`` of a client, in gossip; ``None``: those of the workload, for all.
        judged: clients whose own models are evaluated, in gossip; ``None``: all.
        calibration: where the evaluated model gets BatchNorm statistics of its own; ``None``: it has those of training.
    """

    strategy: Strategy
    seed: int
    rounds: int
    cohort: int
    block: int
    sampler: Sampler
    aggregator: Aggregator
    downlink: Compressor
    network: Network
    deadline: Deadline
    faults: Faults
    encode: bool
    evaluate: Callable[[int], bool]
    run: int
    matrices: Matrices | None = None
    starts: Callable[[int], Tensor] | None = None
    judged: int | None = None
    calibration: Calibration | None = None
