"""Checks that a strategy's functions are functions: nothing hidden goes in, nothing hidden comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fedsparse.cohort.analytic import AnalyticWorkload
from fedsparse.protocol import Strategy
from fedsparse.testing.problem import Springs
from fedsparse.testing.randomness import shared_state
from fedsparse.testing.report import ConformanceError, Finding, passed
from fedsparse.testing.trial import played
from fedsparse.testing.watch import Call, attributes, fingerprint, first_difference, watched

__all__ = ["check_pure", "check_randomness"]


def check_randomness(strategy: Strategy) -> Finding:
    """A run leaves the global random state of torch, NumPy and Python alone.

    Raises:
        ConformanceError: names the function and the generator.
    """
    guilty: list[str] = []

    def observer(_: Strategy, name: str, call: Call, args: tuple[Any, ...]) -> Any:
        before = shared_state()
        result = call(*args)
        guilty.extend(
            f"{name} drew from {who}" for who, state in shared_state().items() if state != before[who]
        )
        return result

    played(watched(strategy, observer), Springs.drawn())
    if guilty:
        raise ConformanceError(
            f"{guilty[0]}'s global generator, so that runs would not repeat; take ctx.rng(purpose) or "
            "ctx.shared(purpose)"
        )
    return passed("randomness", "global generators of torch, NumPy and Python untouched")


def check_pure(strategy: Strategy) -> Finding:
    """A second call gives the same bits; arguments and the strategy itself stay what they were.

    Raises:
        ConformanceError: names the function and the value.
    """
    problem = Springs.drawn()
    workload = AnalyticWorkload(problem)
    wrong: list[str] = []
    calls = 0

    def observer(now: Strategy, name: str, call: Call, args: tuple[Any, ...]) -> Any:
        nonlocal calls
        calls += 1
        values, own = _values(args), attributes(now)
        first = call(*args)
        if (changed := first_difference(values, _values(args))) is not None:
            wrong.append(f"{name} writes to its argument {changed}; make a new tensor instead")
        if (changed := first_difference(own, attributes(now))) is not None:
            wrong.append(
                f"{name} changes the attribute {changed} of the strategy; what must be kept belongs in a state"
            )
        ctx, again = args[-1], list(args)
        if name == "client_update":
            again[2] = workload.task(ctx.ids, ctx.seed, ctx.round, torch.zeros(1, 0))
        if (changed := first_difference(fingerprint(first), fingerprint(call(*again)))) is not None:
            wrong.append(
                f"{name}, called twice with the same values, gives two results{f' for {changed}' * bool(changed)}"
            )
        return first

    played(watched(strategy, observer), problem)
    if wrong:
        raise ConformanceError(wrong[0])
    return passed("pure", f"{calls} calls repeated with the same bits", calls=calls)


def _values(args: tuple[Any, ...]) -> list[Any]:
    return [fingerprint(value) for value in args if isinstance(value, Mapping)]
