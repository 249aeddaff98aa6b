"""EF21 and its kin: clients send corrections of a gradient estimate G_i that the server also has.

All are written as "correct G at x, then step with the mean of all G_i". From G_i = 0 this is the papers'
order (step with G_i^0 = C(gradient at x^0), then correct at the new x); with `estimates` = gradients at x^0
it is their full start. Clients outside the cohort keep G_i (and v_i), and still count in the mean.
"""

from collections.abc import Sequence

import numpy as np

from .cohorts import Cohort
from .common import Gradient, Trace, table
from .compressors import SERVER, Compress, identity
from .toys import Array


def ef21(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    compress: Compress,
    server_compress: Compress = identity,
    estimates: Array | None = None,
) -> Trace:
    """EF21 (Richtarik, Sokolov, Fatkhullin 2021).

    With `server_compress` it is EF21-BC (Fatkhullin et al. 2021): the clients step with g, an estimate of
    mean G_i that the server corrects by C(mean G_i - g).
    """
    G = table(clients, x, estimates)
    xs, g = [x], G.mean(0)
    for t, cohort in enumerate(cohorts):
        for i in cohort:
            G[i] += compress(t, i, gradient(i, x) - G[i])
        g = g + server_compress(t, SERVER, G.mean(0) - g)
        x = x - lr * g
        xs.append(x)
    return Trace(np.stack(xs), server={"g": g}, clients={"G": G})


def ef21_plus(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    compress: Compress,
    estimates: Array | None = None,
) -> Trace:
    """EF21+ (Richtarik, Sokolov, Fatkhullin 2021): whichever of C(g) and G + C(g - G) is closer to g."""
    G = table(clients, x, estimates)
    xs = [x]
    for t, cohort in enumerate(cohorts):
        for i in cohort:
            g = gradient(i, x)
            plain, corrected = compress(t, i, g), G[i] + compress(t, i, g - G[i])
            better = ((plain - g) ** 2).sum() < ((corrected - g) ** 2).sum()
            G[i] = plain if better else corrected
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
