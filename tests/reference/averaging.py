"""Methods that average model differences: FedAvg, FedProx, the FedOpt family, naive compression, Fed-EF.

`u_i = x - y_i` is the decrease of client i after its local steps; the server forms `sum p_i u_i` with p_i
proportional to `weights` over the cohort (uniform when None).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from .cohorts import Cohort
from .common import Gradient, Trace, local_steps, table
from .compressors import Compress, identity
from .toys import Array


def fedavg(
    gradient: Gradient,
    x: Array,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    steps: int,
    server_lr: float = 1.0,
    weights: Array | None = None,
    compress: Compress = identity,
) -> Trace:
    """FedAvg (McMahan et al. 2017); with `compress`, the naive compressed update without memory (FedPAQ)."""
    xs = [x]
    for t, cohort in enumerate(cohorts):
        mean = np.zeros_like(x)
        for i, p in zip(cohort, shares(cohort, weights), strict=True):
            y = local_steps(gradient, i, x, lr, steps)
            mean += p * compress(t, i, x - y)
        x = x - server_lr * mean
        xs.append(x)
    return Trace(np.stack(xs))


def fedprox(
    gradient: Gradient,
    x: Array,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    steps: int,
    mu: float,
    server_lr: float = 1.0,
    weights: Array | None = None,
) -> Trace:
    """FedProx (Li et al. 2020): the local gradient gains mu (y - x)."""
    xs = [x]
    for cohort in cohorts:
        mean = np.zeros_like(x)
        for i, p in zip(cohort, shares(cohort, weights), strict=True):
            y = x
            for _ in range(steps):
                y = y - lr * (gradient(i, y) + mu * (y - x))
            mean += p * (x - y)
        x = x - server_lr * mean
        xs.append(x)
    return Trace(np.stack(xs))


def fedavgm(
    gradient: Gradient,
    x: Array,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    steps: int,
    server_lr: float,
    momentum: float = 0.9,
    weights: Array | None = None,
) -> Trace:
    """FedAvg with server momentum, not damped: m <- b m + D, x <- x + server_lr m."""
    xs, m = [x], np.zeros_like(x)
    for cohort in cohorts:
        D = np.zeros_like(x)
        for i, p in zip(cohort, shares(cohort, weights), strict=True):
            D += p * (local_steps(gradient, i, x, lr, steps) - x)
        m = momentum * m + D
        x = x + server_lr * m
        xs.append(x)
    return Trace(np.stack(xs), server={"m": m})


def fedopt(
    gradient: Gradient,
    x: Array,
    cohorts: Sequence[Cohort],
    *,
    rule: Literal["adam", "yogi", "adagrad"],
    lr: float,
    steps: int,
    server_lr: float,
    beta1: float = 0.9,
    beta2: float = 0.99,
    tau: float = 1e-3,
    weights: Array | None = None,
) -> Trace:
    """FedAdam, FedYogi, FedAdagrad (Reddi et al. 2021, algorithm 2): v^0 = tau^2, no bias correction."""
    xs, m, v = [x], np.zeros_like(x), np.full_like(x, tau**2)
    for cohort in cohorts:
        D = np.zeros_like(x)
        for i, p in zip(cohort, shares(cohort, weights), strict=True):
            D += p * (local_steps(gradient, i, x, lr, steps) - x)
        m = beta1 * m + (1 - beta1) * D
        if rule == "adam":
            v = beta2 * v + (1 - beta2) * D**2
        elif rule == "yogi":
            v = v - (1 - beta2) * D**2 * np.sign(v - D**2)
        else:
            v = v + D**2
        x = x + server_lr * m / (np.sqrt(v) + tau)
        xs.append(x)
    return Trace(np.stack(xs), server={"m": m, "v": v})


def fed_ef(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    steps: int,
    compress: Compress,
    server_lr: float = 1.0,
    weights: Array | None = None,
) -> Trace:
    """Error feedback on the update (Fed-EF); one step of all clients is EF14.

    Absentees keep their stale memory e_i.
    """
    xs, e = [x], table(clients, x)
    for t, cohort in enumerate(cohorts):
        mean = np.zeros_like(x)
        for i, p in zip(cohort, shares(cohort, weights), strict=True):
            u = x - local_steps(gradient, i, x, lr, steps)
            sent = compress(t, i, e[i] + u)
            e[i] = e[i] + u - sent
            mean += p * sent
        x = x - server_lr * mean
        xs.append(x)
    return Trace(np.stack(xs), clients={"e": e})


def shares(cohort: Cohort, weights: Array | None) -> Array:
    """p_i of the cohort's clients, in its order; they sum to one."""
    chosen = np.ones(len(cohort)) if weights is None else np.asarray(weights, dtype=np.float64)[cohort]
    return chosen / chosen.sum()
