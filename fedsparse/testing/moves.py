"""Checks of what must not move anything: gradients of zero, and messages that nobody received."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedsparse.engine.faults import Faults
from fedsparse.gossip import Gossip
from fedsparse.protocol import Strategy
from fedsparse.testing.problem import Springs, Still
from fedsparse.testing.report import ConformanceError, Finding, passed, skipped
from fedsparse.testing.trial import SEED, Arrays, Setting, difference, opened, played
from fedsparse.testing.watch import Call, watched

__all__ = ["check_loss", "check_zero_gradient"]


_ROUNDING = 1e-12


def check_zero_gradient(strategy: Strategy) -> Finding:
    """Where every gradient is zero, the model stays where it started, bit for bit.

    In gossip up to rounding, as weights that sum to one do so only up to rounding. Weight decay is turned off, and of a
    strategy that prunes by itself entries may also become zero.

    Raises:
        ConformanceError: says how far it went.
    """
    setting = Setting()
    with opened(_without_decay(strategy), Still(), setting) as session:
        start = session.engine.model(0)
        least = float(start.abs().max()) * _ROUNDING if isinstance(strategy, Gossip) else 0.0
        for number in range(setting.rounds):
            session.engine.round(number)
            now = session.engine.model(number)
            still = (now == 0) & strategy.prunes
            moved = float((now - start).masked_fill(still, 0).abs().max())
            if not moved <= least:  # also where it is NaN
                raise ConformanceError(
                    f"the model moved by {moved:.2g} in round {number}, although every gradient is zero; send and "
                    "average differences, and divide by nothing that may be zero"
                )
    return passed("zero_gradient", f"the model stays in place for {setting.rounds} rounds")


def _without_decay(strategy: Strategy) -> Strategy:
    """The same strategy, that pulls nothing towards zero."""
    names = [field.name for field in fields(strategy) if field.name.endswith("weight_decay")]
    return replace(strategy, **dict.fromkeys(names, 0.0)) if names else strategy


@dataclass(frozen=True)
class _Silence(Faults):
    """No message reaches the server in some rounds; what must arrive arrives when it is sent again."""

    silent: tuple[int, ...] = ()

    def lost(
        self,
        direction: Literal["up", "down"],
        seed: int,  # noqa: ARG002
        round: int,  # noqa: A002
        phase: str,  # noqa: ARG002
        attempt: int,
        ids: Sequence[int] | NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        return np.full(len(ids), direction == "up" and attempt == 0 and round in self.silent)


def check_loss(strategy: Strategy) -> Finding:
    """Rounds whose messages are all lost leave the server's and the clients' states alone.

    Raises:
        ConformanceError: names the round and the value.
    """
    if isinstance(strategy, Gossip):
        return _check_away(strategy)
    repeated: set[int] = set()

    def observer(_: Strategy, name: str, call: Call, args: tuple[Any, ...]) -> Any:
        result = call(*args)
        if name == "audience" and result == "all":
            repeated.add(args[-1].round)
        return result

    silent = (0, 2, 3)
    setting = replace(Setting(), faults=_Silence(silent=silent))
    shots = played(watched(strategy, observer), Springs.drawn(), setting).shots
    tried = [number for number in silent if number not in repeated]
    if not tried:
        return skipped(
            "loss",
            "every round has a phase that must reach all clients, so messages are sent until they arrive",
        )
    for number in tried:
        if words := difference(_states(shots[number]), _states(shots[number + 1])):
            raise ConformanceError(f"no message arrived in round {number}, and yet {words}")
    return passed("loss", f"{len(tried)} rounds without a message leave all states alone")


def _check_away(strategy: Strategy) -> Finding:
    """Without a server: clients that are away keep their states, whatever their neighbours do."""
    setting = replace(Setting(), faults=Faults(dropout=0.4, link_loss=0.2))
    problem = Springs.drawn()
    shots = played(strategy, problem, setting).shots
    everyone, checked = np.arange(problem.clients), 0
    for number in range(1, setting.rounds):  # from then on all but a few have rows
        away = everyone[setting.faults.absent(SEED, number, everyone)]
        before, after = (_rows_of(shots[k], away) for k in (number, number + 1))
        checked += len(away)
        if words := difference(before, after):
            raise ConformanceError(f"clients that were away in round {number} have changed: {words}")
    return passed("loss", f"{checked} times a client was away and kept its state, and messages were lost")


def _rows_of(shot: Arrays, ids: np.ndarray) -> Arrays:
    mine = np.isin(shot["clients"], ids)
    return {name: value[mine] for name, value in shot.items() if name.startswith("client.")}


def _states(shot: Arrays) -> Arrays:
    return {name: value for name, value in shot.items() if name.startswith(("server.", "client"))}
