"""Methods with an error memory e_i, what client i's compressor left out so far: EF14, EC-Ideal, D-EC, EControl.

They differ in what else is subtracted before compressing: nothing, the gradient at the solution, or a
learned estimate h_i of the client's gradient. The server knows h = mean h_i over all clients.
"""

from collections.abc import Sequence

import numpy as np

from .cohorts import Cohort
from .common import Gradient, Trace, all_gradients, table
from .compressors import SERVER, Compress, identity
from .toys import Array


def ec_sgd(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float | Array,
    compress: Compress,
    server_compress: Compress = identity,
) -> Trace:
    """EF14, also called EC-SGD (Seide et al. 2014, Karimireddy et al. 2019): the step is inside the memory.

    `lr` may be given for each round, [T]. Absentees keep e_i; the server takes the mean over the cohort.
    With `server_compress` it is DoubleSqueeze (Tang et al. 2019): the server has a memory of its own, s.
    """
    e = table(clients, x)
    xs, s = [x], np.zeros_like(x)
    for t, cohort in enumerate(cohorts):
        step, total = np.broadcast_to(lr, len(cohorts))[t], np.zeros_like(x)
        for i in cohort:
            g = gradient(i, x)
            D = compress(t, i, e[i] + step * g)
            e[i] = e[i] + step * g - D
            total += D
        mean = total / len(cohort)
        D = server_compress(t, SERVER, s + mean)
        s = s + mean - D
        x = x - D
        xs.append(x)
    return Trace(np.stack(xs), server={"e": s}, clients={"e": e})


def ec_ideal(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    compress: Compress,
    optimal: Array,
) -> Trace:
    """EC-Ideal, a yardstick of Gao, Islamov, Stich 2023: h_i is known to be the gradient at the solution.

    `optimal` has these gradients, [n, d]. Absentees keep e_i and send nothing.
    """
    e = table(clients, x)
    xs = [x]
    for t, cohort in enumerate(cohorts):
        total = np.zeros_like(x)
        for i in cohort:
            g = gradient(i, x)
            D = compress(t, i, e[i] + g - optimal[i])
            e[i] = e[i] + g - optimal[i] - D
            total += D
        x = x - lr * (optimal.mean(0) + total / clients)
        xs.append(x)
    return Trace(np.stack(xs), clients={"e": e})


def d_ec(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    compress: Compress,
    compress_estimate: Compress | None = None,
    alpha: float = 1.0,
    zero_start: bool = False,
) -> Trace:
    """D-EC (Stich 2020): two messages, D_i for the step and q_i (`compress_estimate`) for the estimate h_i.

    h_i starts at the gradient at x^0, or at zero. The server steps with the old h.
    """
    q = compress if compress_estimate is None else compress_estimate
    h = table(clients, x, None if zero_start else all_gradients(gradient, x, clients))
    e = table(clients, x)
    xs = [x]
    for t, cohort in enumerate(cohorts):
        total, h_old = np.zeros_like(x), h.mean(0)
        for i in cohort:
            g = gradient(i, x)
            D = compress(t, i, e[i] + g - h[i])
            learned = q(t, i, g - h[i])
            e[i] = e[i] + g - h[i] - D
            h[i] = h[i] + alpha * learned
            total += D
        x = x - lr * (h_old + total / clients)
        xs.append(x)
    return Trace(np.stack(xs), clients={"e": e, "h": h})


def econtrol(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    eta: float,
    compress: Compress,
    zero_start: bool = False,
) -> Trace:
    """EControl (Gao, Islamov, Stich 2023): one message D_i feeds the memory e_i and the estimate h_i.

    h_i starts at the gradient at x^0 (sent dense), or at zero. eta scales the error in the message and
    nowhere else; the server steps with the new h. Absentees keep e_i and h_i, which the paper does not cover.
    """
    h_i = table(clients, x, None if zero_start else all_gradients(gradient, x, clients))
    e = table(clients, x)
    xs, h = [x], h_i.mean(0)
    for t, cohort in enumerate(cohorts):
        total = np.zeros_like(x)
        for i in cohort:
            g = gradient(i, x)
            D = compress(t, i, eta * e[i] + g - h_i[i])
            e[i] = e[i] + g - h_i[i] - D
            h_i[i] = h_i[i] + D
            total += D
        h = h + total / clients
        x = x - lr * h
        xs.append(x)
    return Trace(np.stack(xs), server={"h": h}, clients={"e": e, "h": h_i})
