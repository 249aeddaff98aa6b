"""EF21 and EF21-SGDM: clients send corrections of a gradient estimate G_i that the server also has.

Both are written as "correct G at x, then step with the mean of all G_i". From G_i = 0 this is the papers'
order (step with G_i^0 = C(gradient at x^0), then correct at the new x); with `estimates` = gradients at x^0
it is their full start. Clients outside the cohort keep G_i (and v_i), and still count in the mean.
"""

from collections.abc import Sequence

import numpy as np

from .cohorts import Cohort
from .common import Gradient, Trace, table
from .compressors import Compress
from .toys import Array


def ef21(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    compress: Compress,
    estimates: Array | None = None,
) -> Trace:
    """EF21 (Richtarik, Sokolov, Fatkhullin 2021)."""
    G = table(clients, x, estimates)
    xs = [x]
    for t, cohort in enumerate(cohorts):
        for i in cohort:
            G[i] += compress(t, i, gradient(i, x) - G[i])
        x = x - lr * G.mean(0)
        xs.append(x)
    return Trace(np.stack(xs), clients={"G": G})


def ef21_sgdm(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    compress: Compress,
    beta: float,
    estimates: Array | None = None,
) -> Trace:
    """EF21-SGDM (Fatkhullin, Tyurin, Richtarik 2023): the momentum v_i is compressed, not the gradient."""
    v, G = table(clients, x, estimates), table(clients, x, estimates)
    xs = [x]
    for t, cohort in enumerate(cohorts):
        for i in cohort:
            v[i] = (1 - beta) * v[i] + beta * gradient(i, x)
            G[i] += compress(t, i, v[i] - G[i])
        x = x - lr * G.mean(0)
        xs.append(x)
    return Trace(np.stack(xs), clients={"v": v, "G": G})
