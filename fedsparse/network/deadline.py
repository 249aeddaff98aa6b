"""When a synchronous round ends, and whose messages are in time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedsparse.network.times import NEVER, Nanoseconds
from fedsparse.options import option, validate

__all__ = ["Closed", "Deadline", "close"]


class Closed(NamedTuple):
    """The end of a round.

    Attributes:
        accepted: whose message was in time, ``[C]`` bool; the others that arrive at all are late.
        round_ns: how long the round took.
    """

    accepted: NDArray[np.bool_]
    round_ns: int


@dataclass(frozen=True)
class Deadline:
    """What keeps a slow client from holding up a round."""

    deadline: float | None = option(
        None, "longest round in virtual seconds; none: waits for all", above=0, at_most=1e9
    )
    over_select: float = option(
        0.0, "share of clients drawn beyond those waited for", at_least=0, at_most=100
    )

    def __post_init__(self) -> None:
        validate(self)

    def drawn(self, wanted: int, eligible: int) -> int:
        """How many clients to draw so that ``wanted`` messages come in soon: at most those that can take part."""
        return min(eligible, wanted + math.ceil(self.over_select * wanted))

    def close(self, times_ns: Nanoseconds, ids: NDArray[np.int64], wanted: int) -> Closed:
        """:func:`close` with this deadline."""
        limit = None if self.deadline is None else round(self.deadline * 1e9)
        return close(times_ns, ids, wanted, limit)


def close(times_ns: Nanoseconds, ids: NDArray[np.int64], wanted: int, deadline_ns: int | None) -> Closed:
    """Ends the round at the ``wanted``-th message or at the deadline, whichever is first.

    Where fewer arrive, the round lasts until its deadline; without one, until the last message that does.
    A message that arrives at the deadline is in time; of two that arrive together the lower id is first.

    Args:
        times_ns: arrivals, ``[C]``; ``NEVER`` for a message that does not arrive.
        ids: senders, ``[C]``, each once, in any order.
        wanted: messages the server waits for.
        deadline_ns: the longest the round may take; ``None``: no limit.
    """
    last = NEVER - 1 if deadline_ns is None else min(deadline_ns, NEVER - 1)
    order = np.lexsort((ids, times_ns))
    in_time = order[times_ns[order] <= last][:wanted]
    accepted = np.zeros(len(times_ns), dtype=bool)
    accepted[in_time] = True
    complete = len(in_time) == wanted
    if not complete and deadline_ns is not None:
        return Closed(accepted, deadline_ns)
    return Closed(accepted, int(times_ns[in_time].max(initial=0)))
