"""The check of what a strategy promises: measured on quadratics with a known optimum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import MISSING, fields

import numpy as np
from torch import Tensor

from fedsparse.data.quadratic import Quadratics
from fedsparse.protocol import Strategy, Theory
from fedsparse.testing.report import ConformanceError, Finding, passed, skipped
from fedsparse.testing.trial import Setting, opened

__all__ = ["check_theory", "linear_rate"]

_CLIENTS, _SIZE, _SPREAD = 10, 40, 5.0
_FLOOR = 1e-12
"""Relative distances below it are rounding errors and tell nothing about a rate."""


def check_theory(strategy: Strategy) -> Finding:
    """The declared :class:`~fedsparse.protocol.Theory` holds on ten quadratics of 40 parameters that disagree.

    The trial takes the strategy's defaults, with the settings that the theory declares.

    Raises:
        ConformanceError: says how near it came, and how near it should have come.
    """
    theory = strategy.theory
    if theory is None:
        return skipped("theory", "not declared")
    trial = _configured(strategy, theory)
    problem = Quadratics.drawn(_CLIENTS, _SIZE, _SPREAD, noise=0.0, seed=0)
    distances = _distances(trial, theory, problem, _target(trial, theory, problem))
    last = distances[-1]
    words = f"relative distance {last:.2g} to the {_GOALS[theory.limit]} after {theory.rounds} rounds"
    if not math.isfinite(last):
        raise ConformanceError(f"diverged in round {_first_infinite(distances)}; declare other settings")
    if theory.limit == "neighbourhood":
        if last <= theory.within:
            raise ConformanceError(
                f"{words}, but it declares that it stays above {theory.within:g}; if it is exact, declare 'optimum'"
            )
        return passed("theory", f"{words}: above {theory.within:g}, as declared", distance=last)
    if last > theory.within:
        raise ConformanceError(f"{words}, but it declares {theory.within:g}")
    rate = linear_rate(distances)
    return passed("theory", f"{words}, times {rate:.3g} a round", distance=last, rate=rate)


_GOALS = {"optimum": "optimum", "fixed_point": "fixed point", "neighbourhood": "optimum"}


def _configured(strategy: Strategy, theory: Theory) -> Strategy:
    """The class's defaults with the declared settings; from the object only what has no default."""
    needed = [
        f.name for f in fields(strategy) if f.default is MISSING and f.default_factory is MISSING and f.init
    ]
    return type(strategy)(**{name: getattr(strategy, name) for name in needed} | dict(theory.settings))


def _target(strategy: Strategy, theory: Theory, problem: Quadratics) -> Tensor:
    if theory.limit != "fixed_point":
        return problem.optimum
    lr, steps = getattr(strategy, "lr", None), getattr(strategy, "steps", None)
    if not isinstance(lr, float) or not isinstance(steps, int):
        raise ConformanceError(
            "declares the fixed point of local descent, which needs numbers lr and steps; it has "
            f"lr={lr}, steps={steps}"
        )
    return problem.fixed_point(lr, steps)


def _distances(strategy: Strategy, theory: Theory, problem: Quadratics, target: Tensor) -> list[float]:
    """Relative distance to the target before the first round and after each."""
    whole = float((problem.start - target).norm())
    setting = Setting(rounds=theory.rounds, cohort=theory.cohort or _CLIENTS, block=_CLIENTS)
    found = [1.0]
    with opened(strategy, problem, setting) as session:
        for number in range(theory.rounds):
            session.server.round(number)
            found.append(float((session.server.model(number) - target).norm()) / whole)
            if not math.isfinite(found[-1]):
                break
    return found


def linear_rate(distances: Sequence[float]) -> float:
    """The factor by which the distance shrinks in a round, in the end: least squares on its logarithm.

    Only distances above rounding errors count, and of those the later half.

    Args:
        distances: after 0, 1, 2, ... rounds.

    Returns:
        the factor; NaN where fewer than three distances tell anything.
    """
    until = next(
        (k for k, distance in enumerate(distances) if not _FLOOR < distance < math.inf), len(distances)
    )
    used = np.log(distances[until // 2 : until])
    return math.exp(np.polyfit(np.arange(len(used)), used, 1)[0]) if len(used) > 2 else math.nan


def _first_infinite(distances: Sequence[float]) -> int:
    return next(k for k, distance in enumerate(distances) if not math.isfinite(distance)) - 1
