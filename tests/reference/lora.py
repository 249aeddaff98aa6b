"""Federated low-rank adapters by the algorithms' own words, one client and one coordinate at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .cohorts import Cohort
from .common import Trace
from .toys import Array

__all__ = ["AdamW", "Local", "Plain", "flasc", "masked", "ranked", "top"]

Marks = NDArray[np.bool_]
Gradient = Callable[[int, Array], Array]


def top(scores: Array, k: int, among: Sequence[int] | None = None) -> Marks:
    """The k places of largest |score|, the first ones of equal ones."""
    places = range(len(scores)) if among is None else among
    order = sorted(places, key=lambda j: (-abs(scores[j]), j))
    mask = np.zeros(len(scores), dtype=bool)
    mask[order[:k]] = True
    return mask


@dataclass
class Plain:
    """Gradient descent on the server."""

    lr: float = 1.0

    def step(self, x: Array, gradient: Array) -> Array:
        return x - self.lr * gradient


@dataclass
class AdamW:
    """Loshchilov and Hutter's, with bias correction, as PyTorch has it."""

    lr: float = 5e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    decay: float = 0.01
    t: int = 0
    m: Array = field(default_factory=lambda: np.zeros(1))
    v: Array = field(default_factory=lambda: np.zeros(1))

    def step(self, x: Array, gradient: Array) -> Array:
        b1, b2 = self.betas
        self.t += 1
        x = x - self.lr * self.decay * x
        self.m = b1 * self.m + (1 - b1) * gradient
        self.v = b2 * self.v + (1 - b2) * gradient**2
        first, second = self.m / (1 - b1**self.t), self.v / (1 - b2**self.t)
        return x - self.lr * first / (np.sqrt(second) + self.epsilon)


@dataclass
class Local:
    """Heavy-ball steps of a client."""

    gradient: Gradient
    lr: float
    steps: int
    momentum: float = 0.0

    def end(self, i: int, x: Array, mask: Marks | None = None) -> Array:
        """Where client i ends from x, moving only what the mask has."""
        y, velocity = x.copy(), np.zeros(len(x))
        for _ in range(self.steps):
            slope = self.gradient(i, y)
            velocity = self.momentum * velocity + (slope if mask is None else slope * mask)
            y = y - self.lr * velocity
        return y


def flasc(
    local: Local,
    x: Array,
    cohorts: Sequence[Cohort],
    server: Plain | AdamW,
    *,
    down: float,
    up: float,
    gamma: float = 1.0,
    every: int = 1,
    tiers: Sequence[float] = (),
    adapters: Sequence[int] = (),
) -> Trace:
    """Sparse both ways, dense in between; what is evaluated is the server's vector under the last download mask.

    With `tiers`, client i has density tiers[i % n] both ways, and its download leaves out nothing but `adapters`.
    """
    d, seen = len(x), []
    for r, cohort in enumerate(cohorts):
        shrink = gamma ** (r // every)

        def start_of(rho: float, x: Array = x) -> Marks:
            if not tiers:
                return top(x, int(d * rho))
            mask = top(x, int(len(adapters) * rho), adapters)
            mask[np.setdiff1d(np.arange(d), adapters)] = True
            return mask

        total = np.zeros(d)
        for i in cohort:
            rho_down, rho_up = (tiers[i % len(tiers)],) * 2 if tiers else (down, up)
            start = x * start_of(rho_down * shrink)
            delta = start - local.end(i, start)
            total += delta * top(delta, int(d * rho_up * shrink))
        last = start_of((max(tiers) if tiers else down) * shrink)
        x = server.step(x, total / len(cohort))
        seen.append(x * last)
    return Trace(np.stack(seen), server={"x": x})


def masked(
    local: Local,
    x: Array,
    cohorts: Sequence[Cohort],
    server: Plain | AdamW,
    mask_after: Callable[[int, Array, Marks], Marks],
    mask: Marks | None = None,
) -> Trace:
    """Training on a common mask, outside of which all is zero; `mask_after` says what it is after round r."""
    mask = np.ones(len(x), dtype=bool) if mask is None else mask
    x = x * mask
    seen = []
    for r, cohort in enumerate(cohorts):
        gradient = sum(x - local.end(i, x, mask) for i in cohort) / len(cohort)
        x = server.step(x, gradient) * mask
        mask = mask_after(r, x, mask)
        x = x * mask
        seen.append(x)
    return Trace(np.stack(seen))


def ranked(
    local: Local,
    x: Array,
    cohorts: Sequence[Cohort],
    server: Plain | AdamW,
    masks: Sequence[Marks],
) -> Trace:
    """Client i has the part masks[i % n] of the vector, trains it and sends its change, zero elsewhere."""
    seen = []
    for cohort in cohorts:
        total = np.zeros(len(x))
        for i in cohort:
            mask = masks[i % len(masks)]
            total += x * mask - local.end(i, x * mask, mask)
        x = server.step(x, total / len(cohort))
        seen.append(x)
    return Trace(np.stack(seen))
