"""What travels between the driver and its workers: plain values and NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from fedsparse.cohort.calibration import Calibration
from fedsparse.engine.gossip.mail import Mail
from fedsparse.engine.gossip.shelf import Shelved
from fedsparse.engine.slab import Ids

__all__ = [
    "CalibrateCall",
    "Call",
    "EvaluateCall",
    "JudgeCall",
    "MessageShape",
    "MixCall",
    "MixReply",
    "Rows",
    "Slots",
    "SurveyCall",
    "TrainCall",
    "TrainReply",
    "as_array",
    "as_tensor",
]

Rows = Mapping[str, np.ndarray]

MessageShape = Mapping[str, tuple[str, int, torch.dtype]]
"""Of each named payload: its class, size and dtype."""


def _none() -> Ids:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Slots:
    """Where the rows of a block's clients are.

    Attributes:
        new: fresh slots to write to, ``[C]``.
        old: slots to read, ``[C]``, -1 where there is none yet; for a worker that shares the slots' memory.
        rows: the rows themselves ``[C, ...]``, for one that does not.
    """

    new: Ids = field(default_factory=_none)
    old: Ids = field(default_factory=_none)
    rows: Rows = field(default_factory=dict)


@dataclass(frozen=True)
class TrainCall:
    """One block of clients in one phase.

    Attributes:
        round: the round.
        phase: the exchange.
        number: of the exchange within its round, from 0.
        now: virtual seconds.
        ids: clients ``[C]``, ascending.
        at: their rows in a broadcast of one row for each client, ``[C]``.
        states: where their states are.
        helds: where that is which each of them holds.
    """

    round: int
    phase: str
    number: int
    now: float
    ids: Ids
    at: Ids
    states: Slots = field(default_factory=Slots)
    helds: Slots = field(default_factory=Slots)

    def __str__(self) -> str:
        return f"{_span(self.ids)} in round {self.round}, phase '{self.phase}'"


@dataclass(frozen=True)
class MixCall:
    """What one block of clients makes of the messages that it heard in a phase of gossip.

    Attributes:
        round: the round.
        phase: the exchange.
        number: of the exchange within its round, from 0.
        now: virtual seconds.
        mail: who heard what.
        letters: the messages of all who speak.
        late: messages of earlier exchanges that arrive now; nothing, or one batch.
        states: where the clients' states are.
        helds: nothing.
    """

    round: int
    phase: str
    number: int
    now: float
    mail: Mail
    letters: Shelved
    late: Shelved
    states: Slots = field(default_factory=Slots)
    helds: Slots = field(default_factory=Slots)

    @property
    def ids(self) -> Ids:
        """The clients ``[C]``, ascending."""
        return self.mail.ids

    def __str__(self) -> str:
        return f"mixing of {_span(self.ids)} in round {self.round}, phase '{self.phase}'"


@dataclass(frozen=True)
class MixReply:
    """What a block gives back when it has mixed.

    Attributes:
        rows: new states, from a worker that does not share the slots' memory.
        held_rows: nothing.
    """

    rows: Rows | None = None
    held_rows: Rows | None = None


@dataclass(frozen=True)
class SurveyCall:
    """Clients whose own models are evaluated on what all are evaluated on.

    Attributes:
        round: the round.
        now: virtual seconds.
        ids: clients ``[C]``, ascending.
        states: where their states are.
    """

    round: int
    now: float
    ids: Ids
    states: Slots = field(default_factory=Slots)

    def __str__(self) -> str:
        return f"survey of {_span(self.ids)} in round {self.round}"


def _span(ids: Ids) -> str:
    return f"clients {ids[0]} to {ids[-1]}" if len(ids) > 1 else f"client {ids[0]}"


@dataclass(frozen=True)
class EvaluateCall:
    """One piece of an evaluation."""

    chunk: int

    def __str__(self) -> str:
        return f"evaluation piece {self.chunk}"


@dataclass(frozen=True)
class CalibrateCall:
    """One minibatch of those that give an evaluated model statistics of its own."""

    asked: Calibration
    minibatch: int

    def __str__(self) -> str:
        return f"calibration minibatch {self.minibatch}"


@dataclass(frozen=True)
class JudgeCall:
    """One block of clients to be measured, each by itself.

    Attributes:
        round: the round.
        ids: clients ``[C]``, ascending.
        new: who never took part, ``[C]`` bool.
        states: where their states are.
    """

    round: int
    ids: Ids
    new: np.ndarray
    states: Slots = field(default_factory=Slots)

    def __str__(self) -> str:
        return f"evaluation of clients {self.ids[0]} to {self.ids[-1]}"


Call: TypeAlias = TrainCall | MixCall | JudgeCall | SurveyCall | EvaluateCall | CalibrateCall
"""What a worker is asked to do."""


@dataclass(frozen=True)
class TrainReply:
    """What a block gives back.

    Attributes:
        shapes: kind of the messages, by name.
        packed: messages as arrays, by name (``wire=count``).
        encoded: messages as bytes, one for each client (``wire=encode``).
        finite: whether all numbers of ``packed`` are, ``[C]`` bool; the bytes of ``encoded`` say it themselves.
        payload_bytes: of each message ``[C]``.
        header_bytes: of each message ``[C]``.
        dense_bytes: what the same values take uncompressed, ``[C]``.
        loss: mean training loss ``[C]``.
        gradient_calls: ``[C]``.
        examples: ``[C]``.
        scalars: numbers to record, ``[C]`` each.
        rows: new states, from a worker that does not share the slots' memory.
        held_rows: likewise what they hold.
        taken_ns: how long each took from the broadcast to its message, ``[C]``, where that is measured.
    """

    shapes: MessageShape
    packed: Mapping[str, Any]
    encoded: list[bytes] | None
    finite: np.ndarray | None
    payload_bytes: Ids
    header_bytes: Ids
    dense_bytes: Ids
    loss: np.ndarray
    gradient_calls: Ids
    examples: Ids
    scalars: Mapping[str, np.ndarray] = field(default_factory=dict)
    rows: Rows | None = None
    held_rows: Rows | None = None
    taken_ns: Ids | None = None


def as_tensor(array: np.ndarray) -> Tensor:
    """A tensor of the array's memory; of a copy where it is read-only, which tensors cannot be."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def as_array(tensor: Tensor) -> np.ndarray:
    """An array of the tensor's memory."""
    found: np.ndarray = tensor.detach().contiguous().numpy()
    return found
