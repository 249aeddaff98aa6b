"""Sparse strategies by an independent NumPy transcription, on springs in four layers and a bias."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedsparse.protocol import Layout, Strategy
from fedsparse.simulation import Result, simulate
from fedsparse.testing.problem import Springs

Array = NDArray[np.float64]
Marks = NDArray[np.bool_]

LR, STEPS, ROUNDS = 0.05, 4, 12


@dataclass
class Layers(Springs):
    """Springs between neighbours, across the borders of layers."""

    shapes: ClassVar = {"first": (2, 2), "a": (2, 3), "bias": (2,), "b": (3, 2), "last": (3, 2)}
    prunable: ClassVar = ("first", "a", "b", "last")


PROBLEM = replace(Layers.drawn(), noise=0.0)
LAYOUT = Layout.of(Layers.shapes, frozenset(Layers.prunable))
SLICES = [LAYOUT[name].slice for name in ("a", "b")]
"""The layers that are pruned: neither the first nor the last."""

START: Array = PROBLEM.start.numpy()
SIZES = PROBLEM.sizes.numpy()
SHARES = SIZES / SIZES.sum()
ALWAYS = np.ones(len(START), dtype=bool)
for _where in SLICES:
    ALWAYS[_where] = False


def gradient(i: int, x: Array) -> Array:
    """Of client i."""
    springs = PROBLEM.stiffness[i].numpy() * (x - PROBLEM.rest[i].numpy())
    return springs + (2 * x - np.roll(x, 1) - np.roll(x, -1)) / 4


def local(i: int, x: Array, mask: Marks, steps: int = STEPS) -> Array:
    """Where client i ends."""
    y = x * mask
    for _ in range(steps):
        y = y - LR * mask * gradient(i, y)
    return y


def top(scores: Array, allowed: Sequence[int], count: int) -> list[int]:
    """The allowed places of largest |score|, the first ones of equal ones."""
    return sorted(allowed, key=lambda j: (-abs(scores[j]), j))[:count]


def places(where: slice, mask: Marks, there: bool) -> list[int]:
    """Places of a layer with or without a weight."""
    return [j for j in range(where.start, where.stop) if mask[j] == there]


def magnitude(counts: Sequence[int], x: Array = START) -> Marks:
    """The mask of the largest start weights of each layer."""
    mask = ALWAYS.copy()
    for where, count in zip(SLICES, counts, strict=True):
        mask[top(x, range(where.start, where.stop), count)] = True
    return mask


@dataclass
class State:
    """The server between rounds."""

    x: Array
    mask: Marks


def averaged(state: State) -> tuple[Array, list[Array]]:
    """FedAvg on the mask, and where the clients ended."""
    ends = [local(i, state.x, state.mask) for i in range(len(SHARES))]
    mean = sum(p * (y - state.x) for p, y in zip(SHARES, ends, strict=True))
    return state.x + mean, ends


def iterates(state: State, step: Callable[[State, int], State]) -> tuple[list[Array], Marks]:
    """The models after each round, and the last mask."""
    found = []
    for r in range(ROUNDS):
        state = step(state, r)
        found.append(state.x)
    return found, state.mask


def run(strategy: Strategy, **options: object) -> Result:
    """The product on the same problem, everybody in one block unless said otherwise."""
    return simulate(strategy, PROBLEM, rounds=ROUNDS, keep_models=True, **options)  # type: ignore[arg-type]


def assert_same(result: Result, expected: tuple[list[Array], Marks]) -> None:
    """Every iterate is that of the transcription to 1e-12, and the last mask to the bit."""
    models, mask = expected
    for r, (ours, reference) in enumerate(zip(result.models, models, strict=True)):
        np.testing.assert_allclose(ours.numpy(), reference, rtol=0, atol=1e-12, err_msg=f"round {r}")
    if "mask" in result.server:
        np.testing.assert_array_equal(result.server["mask"].numpy(), mask)
