"""What the checks of methods with error feedback and gradient estimates share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from strategy_cases import EXACT, ToyProblem, iterates, rows
from torch import Tensor

from fedsparse.engine.faults import Faults
from fedsparse.simulation import Result
from tests.reference import Trace
from tests.reference.cohorts import Cohort
from tests.reference.oracle import Q, everybody, sampled
from tests.reference.toys import Array

FULL = Q.gradients(Q.x0)
"""What estimates start from with ``start=full``, ``[n, d]``."""

ALL = everybody(60)
SOME = [np.arange(Q.clients), *sampled(3, 59)]
"""All clients in round 0, three of ten later."""

MEMORY = {"e": "memory", "G": "h"}
"""The product's names of client states where the reference has others."""


def named(trace: Trace, **server: str) -> Trace:
    """The trace with those of its server vectors that have a name in the product, by that name."""
    return replace(trace, server={ours: trace.server[name] for name, ours in server.items()})


def twice_at_first(gradient: Callable[[int, Array], Array]) -> Callable[[int, Array], Array]:
    """A noisy gradient whose first value of each client counts for its estimate, and for the first iteration."""
    first: dict[int, Array] = {}
    used: set[int] = set()

    def again(client: int, x: Array) -> Array:
        if client not in first:
            first[client] = gradient(client, x)
            return first[client]
        if client not in used:
            used.add(client)
            return first[client]
        return gradient(client, x)

    return again


def arrived(faults: Faults, rounds: int, phases: Mapping[int, str] | None = None) -> list[Cohort]:
    """Whose uplinks arrive in a run with seed 0 where all clients take part.

    Args:
        faults: what is lost.
        rounds: how many.
        phases: of rounds whose phase is not ``"train"``; ``"start"`` is repeated until everybody has been heard.
    """
    named = dict(phases or {})
    found = []
    for t in range(rounds):
        lost = faults.lost("up", 0, t, named.get(t, "train"), 0, range(Q.clients))
        found.append(np.arange(Q.clients) if named.get(t) == "start" else np.flatnonzero(~lost))
    return found


def path(result: Result, lr: float, cohorts: Sequence[Cohort] = ()) -> Array:
    """SGD with the gradients at the iterates: x^0 - lr (1/N) sum of those of each round's cohort, all by default."""
    points = iterates(result)[:-1]
    taking = cohorts or everybody(len(points))
    moves = [Q.gradients(x)[cohort].sum(0) / Q.clients for x, cohort in zip(points, taking, strict=True)]
    return Q.x0 - lr * np.stack(moves).sum(0)


def assert_estimate_is_the_mean(result: Result) -> None:
    """Estimate h == (1/N) sum h_i over all N clients."""
    np.testing.assert_allclose(result.server["h"], rows(result, "h").mean(0), rtol=0, atol=EXACT)


class Watched(ToyProblem):
    """The toy, which notes where clients take gradients: ``points``, ``[d]`` each."""

    def __init__(self) -> None:
        super().__init__()
        self.points: list[Array] = []

    def full_gradient(self, ids: Tensor, x: Tensor) -> Tensor:
        assert bool((x == x[0]).all()), "clients are at different points"
        self.points.append(x[0].numpy().copy())
        return super().full_gradient(ids, x)


def descent(rounds: int, lr: float) -> Array:
    """Iterates of gradient descent, ``[rounds + 1, d]``."""
    xs: Sequence[Array] = [Q.x0]
    for _ in range(rounds):
        xs = [*xs, xs[-1] - lr * Q.gradients(xs[-1]).mean(0)]
    return np.stack(xs)


def squared_distance(models: Sequence[Tensor], optimum: Tensor) -> float:
    """Mean of ||x - x*||^2 over some iterates."""
    return float((torch.stack(list(models)) - optimum).square().sum(1).mean())
