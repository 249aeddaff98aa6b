"""What a round adds up to, over its phases."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np

from fedsparse.engine.calls import TrainReply
from fedsparse.errors import ProtocolError
from fedsparse.ledger import Ledger
from fedsparse.records import Record

__all__ = ["Tally"]


class _Classes(TypedDict):
    cohort: int
    accepted: int
    lost: int
    late: int
    absent: int
    rejected: dict[str, int]


@dataclass
class Tally:
    """What a round adds up to.

    Attributes:
        accepted: clients with a message that was used.
        refused: why a message was refused, by client.
        late: clients with a message that came too late.
        lost: clients that a message was lost of, in either direction.
        absent: clients that were away.
        stepped: whether the server's state took a step.
        gradient_calls: gradients of single clients.
        examples: training examples that went into them.
        loss: mean training loss of the accepted clients in the last phase that trained.
        scalars: means over the accepted clients of the numbers that the strategy records, and those of its server.
    """

    accepted: set[int] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)
    late: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    absent: set[int] = field(default_factory=set)
    stepped: bool = False
    gradient_calls: int = 0
    examples: int = 0
    loss: float = math.nan
    scalars: dict[str, float] = field(default_factory=dict)

    def count(self, who: str, replies: Sequence[TrainReply], accepted: np.ndarray) -> None:
        """Adds the work of a phase, and the numbers of those that were ``accepted [C]``.

        Raises:
            ProtocolError: blocks of clients recorded different names.
        """
        self.gradient_calls += sum(int(reply.gradient_calls.sum()) for reply in replies)
        self.examples += sum(int(reply.examples.sum()) for reply in replies)
        names = {name for reply in replies for name in reply.scalars}
        for name in sorted(names):
            if any(name not in reply.scalars for reply in replies):
                raise ProtocolError(
                    f"{who}: some clients record '{name}' and some do not; all of a phase must"
                )
            values = np.concatenate([reply.scalars[name] for reply in replies])[accepted]
            if len(values):
                self.scalars[name.removeprefix("@")] = _mean(values)
        if replies:
            trained = np.concatenate([reply.examples > 0 for reply in replies]) & accepted
            losses = np.concatenate([reply.loss for reply in replies])[trained]
            if not np.isnan(losses).all():
                self.loss = _mean(losses)

    def classes(self) -> _Classes:
        """How many clients had which fate; each is counted once.

        Over several phases a refusal is always told; otherwise a client that was of use is accepted.
        """
        taken: set[int] = set()

        def first(group: Iterable[int]) -> int:
            own = set(group) - taken
            taken.update(own)
            return len(own)

        first(self.refused)
        accepted, late, lost, absent = map(first, (self.accepted, self.late, self.lost, self.absent))
        rejected = dict(Counter(self.refused.values()))
        return _Classes(
            cohort=len(taken), accepted=accepted, lost=lost, late=late, absent=absent, rejected=rejected
        )

    def record(
        self, number: int, virtual_s: float, ledger: Ledger, metrics: Mapping[str, float], wall_s: float
    ) -> Record:
        """The round ``number``, which is complete: what it added up to, and the ledger's counters of it.

        Args:
            number: of the round, from 0.
            virtual_s: virtual seconds from the start of the run to the end of the round.
            ledger: of the run; its counters of the round start at zero again.
            metrics: what was evaluated after the round.
            wall_s: seconds that it took on this machine.
        """
        return Record(
            round=number,
            virtual_s=virtual_s,
            **self.classes(),
            skipped=not self.stepped,
            traffic=ledger.round(),
            traffic_total=ledger.total(),
            gradient_calls=self.gradient_calls,
            examples=self.examples,
            train_loss=self.loss,
            metrics=metrics,
            scalars=self.scalars,
            wall_s=wall_s,
        )


def _mean(values: np.ndarray) -> float:
    """Independent of grouping; NaN where infinities of both signs or numbers beyond float64 meet."""
    try:
        return math.fsum(values) / len(values)
    except (OverflowError, ValueError):
        return math.nan
