"""The check of what a strategy promises: measured on quadratics with a known optimum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Literal

import numpy as np
from torch import Tensor

from fedsparse.data.affine import Affine
from fedsparse.data.quadratic import Quadratics
from fedsparse.data.saddle import Saddle
from fedsparse.protocol import Strategy, Theory
from fedsparse.testing.report import ConformanceError, Finding, passed, skipped
from fedsparse.testing.trial import Setting, opened

__all__ = ["check_theory", "configured", "linear_rate", "slowing", "toy"]

_CLIENTS, _SIZE, _SPREAD = 10, 40, 5.0
_FLOOR = 1e-12
"""Relative distances below it are rounding errors and tell nothing about a rate."""

_LINEAR = 0.85
"""Slope of log distance in the later half over that before: 1 of a linear rate, 1/2 of any power of the round."""


def check_theory(strategy: Strategy) -> Finding:
    """Every declared :class:`~fedsparse.protocol.Theory` holds on ten clients of 40 parameters that disagree.

    A trial takes the strategy's defaults, with the settings that the theory declares. In gossip it is on a ring, and
    about the mean of the clients' models.

    Raises:
        ConformanceError: says how near it came, and how near it should have come.
    """
    theories = strategy.theories()
    if not theories:
        return skipped("theory", "not declared")
    lines: list[str] = []
    numbers: dict[str, float] = {}
    for k, theory in enumerate(theories, start=1):
        found = _tried(strategy, theory)
        lines.append(found.explanation)
        numbers |= {name if k == 1 else f"{name}_{k}": value for name, value in found.numbers.items()}
    return passed("theory", "; ".join(lines), **numbers)


def _tried(strategy: Strategy, theory: Theory) -> Finding:
    """One trial."""
    if theory.limit == "neighbourhood" and theory.rate is not None:
        raise ConformanceError(
            f"declares a {theory.rate} rate to a neighbourhood; a rate needs a limit that is reached"
        )
    trial, problem = configured(strategy, theory), toy(theory.problem)
    distances = _distances(trial, theory, problem, _target(trial, theory, problem))
    last = distances[-1]
    words = (
        f"{theory.problem}: distance {last:.2g} to the {_GOALS[theory.limit]} after {theory.rounds} rounds"
    )
    if not math.isfinite(last):
        raise ConformanceError(
            f"{theory.problem}: diverged in round {_first_infinite(distances)}; declare other settings"
        )
    if theory.limit == "neighbourhood":
        if last <= theory.within:
            raise ConformanceError(
                f"{words}, but it declares that it stays above {theory.within:g}; if it is exact, declare 'optimum'"
            )
        return passed("theory", f"{words}: above {theory.within:g}, as declared", distance=last)
    if last > theory.within:
        raise ConformanceError(f"{words}, but it declares {theory.within:g}")
    rate = linear_rate(distances)
    _require_rate(theory, distances, words)
    return passed("theory", f"{words}, times {rate:.3g} a round", distance=last, rate=rate)


_GOALS = {"optimum": "optimum", "fixed_point": "fixed point", "neighbourhood": "optimum"}


def _require_rate(theory: Theory, distances: Sequence[float], words: str) -> None:
    """Refuses a rate that is not of the declared class."""
    kept = slowing(distances)
    if theory.rate is None or (theory.rate == "linear") == (kept >= _LINEAR):
        return
    raise ConformanceError(
        f"{words}, and in the later half of the rounds log distance falls {kept:.2g} times as fast as before, but it "
        f"declares a {theory.rate} rate (linear is {_LINEAR:g} and more)"
    )


def toy(name: Literal["quadratic", "saddle"]) -> Affine:
    """The problem of a trial: ten clients of 40 parameters that disagree."""
    if name == "saddle":
        return Saddle.drawn(_CLIENTS, _SIZE // 2, 0.0, 1.0, spread=3.0, mu=0.2, noise=0.0, seed=0)
    return Quadratics.drawn(_CLIENTS, _SIZE, _SPREAD, noise=0.0, seed=0)


def configured(strategy: Strategy, theory: Theory) -> Strategy:
    """The class's defaults with the settings of a trial; from the object only what has no default."""
    needed = [
        f.name for f in fields(strategy) if f.default is MISSING and f.default_factory is MISSING and f.init
    ]
    return type(strategy)(**{name: getattr(strategy, name) for name in needed} | dict(theory.settings))


def _target(strategy: Strategy, theory: Theory, problem: Affine) -> Tensor:
    if theory.limit != "fixed_point":
        return problem.solution
    if not isinstance(problem, Quadratics):
        raise ConformanceError(
            "declares a fixed point of a saddle problem; its closed form is that of quadratics"
        )
    lr, steps = getattr(strategy, "lr", None), getattr(strategy, "steps", None)
    if not isinstance(lr, float) or not isinstance(steps, int):
        raise ConformanceError(
            "declares the fixed point of local descent, which needs numbers lr and steps; it has "
            f"lr={lr}, steps={steps}"
        )
    return problem.fixed_point(lr, steps)


def _distances(strategy: Strategy, theory: Theory, problem: Affine, target: Tensor) -> list[float]:
    """Relative distance to the target before the first round and after each."""
    whole = float((problem.start - target).norm())
    setting = Setting(rounds=theory.rounds, cohort=theory.cohort or _CLIENTS, block=_CLIENTS)
    found = [1.0]
    with opened(strategy, problem, setting) as session:
        for number in range(theory.rounds):
            session.engine.round(number)
            found.append(float((session.engine.model(number) - target).norm()) / whole)
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
    until = _telling(distances)
    return math.exp(_slope(distances[until // 2 : until]))


def slowing(distances: Sequence[float]) -> float:
    """How fast the logarithm of the distance falls in the later half, in units of the quarter before.

    1 for c q^t, 1/2 for every power of t, near 0 where it stalls; as in :func:`linear_rate`, above rounding errors.

    Args:
        distances: after 0, 1, 2, ... rounds.
    """
    until = _telling(distances)
    earlier = _slope(distances[until // 4 : until // 2])
    return _slope(distances[until // 2 : until]) / earlier if earlier else math.nan


def _telling(distances: Sequence[float]) -> int:
    """How many of the distances come before the first that is a rounding error."""
    return next((k for k, d in enumerate(distances) if not _FLOOR < d < math.inf), len(distances))


def _slope(distances: Sequence[float]) -> float:
    """Of the logarithm, a round; NaN of fewer than three."""
    if len(distances) < 3:
        return math.nan
    return float(np.polyfit(np.arange(len(distances)), np.log(distances), 1)[0])


def _first_infinite(distances: Sequence[float]) -> int:
    return next(k for k, distance in enumerate(distances) if not math.isfinite(distance)) - 1
