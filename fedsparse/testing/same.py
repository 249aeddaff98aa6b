"""Checks that a result does not depend on what it must not depend on: blocks, threads, interruptions, names."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedsparse.archive import read, write
from fedsparse.compress import Compressor, Identity, TopK
from fedsparse.protocol import Context, Strategy
from fedsparse.registry import topologies
from fedsparse.rng import Streams
from fedsparse.testing.problem import Springs
from fedsparse.testing.report import ConformanceError, Finding, passed, skipped
from fedsparse.testing.trial import Arrays, Setting, difference, opened, played, snapshot
from fedsparse.testing.watch import Call, watched

__all__ = ["check_blocks", "check_permutation", "check_resume"]

_ORDER = (3, 0, 7, 5, 1, 6, 2, 4)
_CLIENTS = len(_ORDER)
_ROUNDING = 1e-10


def check_blocks(strategy: Strategy) -> Finding:
    """The same bits whether 1, 2 or 5 clients are trained together, and on 1 or 2 threads.

    Raises:
        ConformanceError: names the round and the value.
    """
    problem, base = Springs.drawn(), Setting()
    reference = played(strategy, problem, base)
    ways = {
        "blocks of 1": replace(base, block=1),
        "blocks of 2 on two threads": replace(base, block=2, workers=2),
    }
    for way, setting in ways.items():
        found = played(strategy, problem, setting)
        for number, (one, other) in enumerate(zip(reference.shots, found.shots, strict=True)):
            if words := difference(one, other):
                raise ConformanceError(
                    f"with {way} instead of blocks of {base.block}, {words} after {number} rounds; rows of the axis C "
                    "must not mix: reduce over the last axis, or in aggregate"
                )
    return passed("blocks", "same bits for blocks of 1, 2 and 5 clients, and for 1 and 2 threads")


def check_resume(strategy: Strategy) -> Finding:
    """The same bits after saving to a checkpoint file and loading it into a new run, between any two rounds.

    Raises:
        ConformanceError: names the round and the value.
    """
    problem, setting = Springs.drawn(), Setting()
    straight = played(strategy, problem, setting).shots
    with tempfile.TemporaryDirectory(prefix="fedsparse-check-") as folder:
        for number in range(1, setting.rounds):
            file = Path(folder) / f"{number}.ckpt"
            with opened(_anew(strategy), problem, setting) as session:
                write(file, {}, straight[number])
                session.engine.restore(read(file)[1])
                session.engine.round(number)
                if words := difference(straight[number + 1], snapshot(session.engine)):
                    raise ConformanceError(
                        f"resumed after round {number}, {words}; all that a round needs must be in the states"
                    )
    return passed("resume", f"same bits after a checkpoint behind each of {setting.rounds - 1} rounds")


def _anew(strategy: Strategy) -> Strategy:
    """An equal strategy that remembers nothing."""
    return replace(strategy)


def check_permutation(strategy: Strategy) -> Finding:
    """Where clients trade places, their states do, and the server's is the same but for rounding.

    What the server keeps of each client, ``[N, ...]``, trades places, too.
    Compressors that draw random numbers draw them by client, so they are replaced by top-k, or by none.

    Raises:
        ConformanceError: names the value and the difference.
    """
    problem = Springs.drawn(_CLIENTS).alike()
    order = torch.tensor(_ORDER)
    draws: list[str] = []
    trial = strategy
    here = _last(trial, problem, draws)
    if draws:
        trial, said = _seedless(strategy), draws[0]
        draws.clear()
        here = _last(trial, problem, draws)
        if draws:
            return skipped(
                "permutation", f"clients draw random numbers of their own ('{said}'), which are not traded"
            )
    there = _last(trial, problem.reordered(order), draws)
    largest = 0.0
    for name, value in here.items():
        if not name.startswith(tuple(_TRADED)):
            continue
        common = name.startswith(("server.", "held.")) and not (value.ndim > 1 and len(value) == _CLIENTS)
        wanted = value if common else value[order.numpy()]
        gap = np.abs(wanted.astype(np.result_type(wanted, np.float64)) - there[name]).max(initial=0.0)
        if not gap <= _ROUNDING * max(1.0, float(np.abs(value).max(initial=0.0))):
            raise ConformanceError(
                f"'{name}' differs by {gap:.2g} where the clients have traded places; what a client does may not "
                "depend on its id"
            )
        largest = max(largest, float(gap))
    replaced = "" if trial is strategy else ", with a compressor that draws nothing"
    return passed(
        "permutation", f"clients may trade places{replaced}: {largest:.1g} of difference", largest=largest
    )


_TRADED = ("server.", "held.", "client.", "holder.")


@dataclass(frozen=True)
class _Listening(Context):
    """A context that notes which random numbers clients ask for."""

    draws: list[str] = field(default_factory=list)

    def rng(self, purpose: str) -> Streams:
        self.draws.append(purpose)
        return super().rng(purpose)


def _last(strategy: Strategy, problem: Springs, draws: list[str]) -> Arrays:
    """The end of a trial in which everybody takes part, in one block."""

    def observer(_: Strategy, name: str, call: Call, args: tuple[Any, ...]) -> Any:
        *values, ctx = args
        own = {f.name: getattr(ctx, f.name) for f in fields(ctx)}
        return call(*values, _Listening(**own, draws=draws) if name == "client_update" else ctx)

    setting = Setting(cohort=_CLIENTS, block=_CLIENTS, topology=topologies.get("complete")())
    return played(watched(strategy, observer), problem, setting).shots[-1]


def _seedless(strategy: Strategy) -> Strategy:
    """The strategy with compressors that need no random numbers, of a class that it allows."""
    plain: Compressor = Identity() if strategy.uplink_class == "unbiased" else TopK(0.3)
    values = {f.name: getattr(strategy, f.name) for f in fields(strategy)}
    names = [n for n, v in values.items() if isinstance(v, Compressor) and not isinstance(v, Identity)]
    return replace(strategy, **dict.fromkeys(names, plain))
