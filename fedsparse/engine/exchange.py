"""One phase of one round: who is asked, and how many are waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from fedsparse.engine.block import Workload
from fedsparse.engine.eligible import Eligible
from fedsparse.engine.plan import Plan
from fedsparse.engine.slab import Ids
from fedsparse.errors import ProtocolError
from fedsparse.protocol import Audience, Context, Strategy

__all__ = ["AUDIENCES", "Exchange", "asked", "checked_phases", "context_of"]

AUDIENCES: tuple[Audience, ...] = ("new", "cohort", "all")
"""Who a phase may be for; each is contained in the next one."""


@dataclass(frozen=True)
class Exchange:
    """One phase of one round.

    Attributes:
        strategy: the algorithm, its schedules evaluated at the round.
        ctx: the circumstances; its ids are the clients that are there to listen.
        number: of the phase within its round, from 0.
        audience: who the phase is for.
        wanted: messages that the server waits for.
    """

    strategy: Strategy
    ctx: Context
    number: int
    audience: Audience
    wanted: int

    @property
    def ids(self) -> Ids:
        """Clients that are there to listen, ascending ``[A]``."""
        found: Ids = self.ctx.ids.numpy()
        return found

    @property
    def complete(self) -> bool:
        """Whether each of them must be reached, however often it takes, and has all the time it needs."""
        return self.audience == "all"

    @property
    def width(self) -> int:
        """Rank of the audience: a wider one has all clients of a narrower one."""
        return AUDIENCES.index(self.audience)


def context_of(
    plan: Plan, workload: Workload, eligible: Eligible, number: int, phase: str, ids: Ids, now_ns: int = 0
) -> Context:
    """The circumstances of a call for the clients ``ids [C]`` in round ``number``, after ``now_ns`` virtual ns."""
    return Context(
        seed=plan.seed,
        round=number,
        rounds=plan.rounds,
        phase=phase,
        ids=torch.from_numpy(ids),
        population=eligible.population,
        total=eligible.total,
        layout=workload.start.layout,
        now=now_ns / 1e9,
        idle=eligible.idle,
    )


def checked_phases(strategy: Strategy, ctx: Context) -> tuple[str, ...]:
    """The names of a round's phases.

    Raises:
        ProtocolError: they are not a tuple of distinct names. Random streams are keyed by them, so that two phases of
            one name would draw the same numbers.
    """
    phases: object = strategy.phases(ctx)
    if not isinstance(phases, tuple) or not all(isinstance(p, str) and p for p in phases):
        raise ProtocolError(
            f"{type(strategy).__name__}: phases gave {phases!r}; it must give a tuple of names, such as ('train',)"
        )
    if len(set(phases)) < len(phases):
        raise ProtocolError(
            f"{type(strategy).__name__}: phases gave {phases!r}; names must differ, as random streams are keyed by "
            "them: number them, such as 'mix1', 'mix2'"
        )
    return phases


def asked(who: str, audience: str, drawn: Ids, seen: np.ndarray, everybody: Callable[[], Ids]) -> np.ndarray:
    """Clients that a phase is for, whether they are there or not, ascending.

    Args:
        who: the strategy's name, for errors.
        audience: what the strategy said.
        drawn: the cohort, ascending ``[C]``.
        seen: whose message was accepted before, ``[C]`` bool.
        everybody: all clients that can take part, ascending.

    Raises:
        ProtocolError: the audience is unknown.
    """
    if audience == "all":
        return everybody()
    if audience not in AUDIENCES:
        raise ProtocolError(f"{who}: audience gave {audience!r}; there are {', '.join(map(repr, AUDIENCES))}")
    return drawn[~seen] if audience == "new" else drawn
