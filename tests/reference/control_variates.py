"""SCAFFOLD, and its compressed forms SCALLION and SCAFCOM.

`c_i` is client i's control variate and c the server's. Everywhere c must start as the mean of all c_i.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .cohorts import Cohort
from .common import Gradient, Trace, local_steps, table
from .compressors import Compress
from .toys import Array


def scaffold(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    steps: int,
    server_lr: float = 1.0,
    option: int = 2,
    controls: Array | None = None,
) -> Trace:
    """SCAFFOLD (Karimireddy et al. 2020).

    The new c_i is the gradient at x (option 1) or the mean gradient of the local steps (option 2).
    """
    c_i = table(clients, x, controls)
    xs, c = [x], c_i.mean(0)
    for cohort in cohorts:
        dx, dc = np.zeros_like(x), np.zeros_like(x)
        for i in cohort:
            y = local_steps(gradient, i, x, lr, steps, shift=c - c_i[i])
            c_new = gradient(i, x) if option == 1 else c_i[i] - c + (x - y) / (steps * lr)
            dx += y - x
            dc += c_new - c_i[i]
            c_i[i] = c_new
        x = x + server_lr * dx / len(cohort)
        c = c + dc / clients
        xs.append(x)
    return Trace(np.stack(xs), server={"c": c}, clients={"c": c_i})


def scallion(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    steps: int,
    compress: Compress,
    alpha: float,
    server_lr: float = 1.0,
    controls: Array | None = None,
) -> Trace:
    """SCALLION (Huang, Li, Li 2023) with an unbiased compressor; the server steps with the old c."""
    c_i = table(clients, x, controls)
    xs, c = [x], c_i.mean(0)
    for t, cohort in enumerate(cohorts):
        total = np.zeros_like(x)
        for i in cohort:
            y = local_steps(gradient, i, x, lr, steps, shift=c - c_i[i])
            delta = alpha * ((x - y) / (lr * steps) - c)
            sent = compress(t, i, delta)
            c_i[i] += sent
            total += sent
        x = x - server_lr * lr * steps * (total / len(cohort) + c)
        c = c + total / clients
        xs.append(x)
    return Trace(np.stack(xs), server={"c": c}, clients={"c": c_i})


def scafcom(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    steps: int,
    compress: Compress,
    beta: float,
    server_lr: float = 1.0,
    controls: Array | None = None,
    momenta: Array | None = None,
) -> Trace:
    """SCAFCOM (Huang, Li, Li 2023) with a contractive compressor.

    The momentum v_i averages the client's mean gradients over its rounds.
    """
    c_i, v = table(clients, x, controls), table(clients, x, momenta)
    xs, c = [x], c_i.mean(0)
    for t, cohort in enumerate(cohorts):
        total = np.zeros_like(x)
        for i in cohort:
            y = local_steps(gradient, i, x, lr, steps, shift=c - c_i[i])
            v[i] = (1 - beta) * v[i] + beta * ((x - y) / (lr * steps) + c_i[i] - c)
            sent = compress(t, i, v[i] - c_i[i])
            c_i[i] += sent
            total += sent
        x = x - server_lr * lr * steps * (total / len(cohort) + c)
        c = c + total / clients
        xs.append(x)
    return Trace(np.stack(xs), server={"c": c}, clients={"c": c_i, "v": v})


def scaffold_with_memory(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    steps: int,
    compress: Compress,
    server_lr: float = 1.0,
    lost: NDArray[np.bool_] | None = None,
    commit_on_acceptance: bool = True,
) -> Trace:
    """SCAFFOLD (option 2) with error feedback on the model difference, over links that lose messages.

    The change of c_i travels dense. A lost message (`lost[t, i]`) reaches nobody: with the commit rule the
    client then stays with the c_i and e_i it had before the round, without the rule it keeps the new ones.
    The server averages what it received; with nothing received it stands still.
    """
    c_i, e = table(clients, x), table(clients, x)
    xs, c = [x], np.zeros_like(x)
    for t, cohort in enumerate(cohorts):
        dx, dc, received = np.zeros_like(x), np.zeros_like(x), 0
        for i in cohort:
            y = local_steps(gradient, i, x, lr, steps, shift=c - c_i[i])
            c_new = c_i[i] - c + (x - y) / (steps * lr)
            sent = compress(t, i, e[i] + y - x)
            e_new, c_change = e[i] + y - x - sent, c_new - c_i[i]
            accepted = lost is None or not lost[t, i]
            if accepted or not commit_on_acceptance:
                c_i[i], e[i] = c_new, e_new
            if accepted:
                dx, dc, received = dx + sent, dc + c_change, received + 1
        if received:
            x = x + server_lr * dx / received
            c = c + dc / clients
        xs.append(x)
    return Trace(np.stack(xs), server={"c": c}, clients={"c": c_i, "e": e})
