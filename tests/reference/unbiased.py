"""Methods for unbiased compressors: compressed gradient descent, DIANA, DORE, MARINA, FedPAQ, FedCOM(GATE).

And FedAvg with masked updates. `D_i` is what client i sends. With `model_compress` the clients compute their
gradients at w, an estimate of x that the server corrects by C(x - w): EF21-P (Gruntkowska et al. 2023).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .averaging import shares
from .cohorts import Cohort
from .common import Gradient, Trace, all_gradients, local_steps, table
from .compressors import SERVER, Compress, identity
from .toys import Array


def dcgd(
    gradient: Gradient,
    x: Array,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    compress: Compress,
    model_compress: Compress = identity,
) -> Trace:
    """Distributed compressed gradient descent (Khirirat et al. 2018), without memory; any compressor."""
    xs, w = [x], x
    for t, cohort in enumerate(cohorts):
        x = x - lr * np.mean([compress(t, i, gradient(i, w)) for i in cohort], axis=0)
        w = w + model_compress(t, SERVER, x - w)
        xs.append(x)
    return Trace(np.stack(xs), server={"w": w})


def diana(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    alpha: float,
    compress: Compress,
    server_compress: Compress = identity,
    model_compress: Compress = identity,
    estimates: Array | None = None,
) -> Trace:
    """DIANA (Mishchenko et al. 2019): the step uses the old h and the undamped mean of the cohort's D_i.

    With `server_compress` it is Artemis (Philippenko, Dieuleveut 2020): the direction of the step is
    compressed, without memory; with fewer clients in the cohort, its partial participation that keeps
    h = mean h_i over all clients. `estimates` is h_i^0, zero when None.
    """
    h_i = table(clients, x, estimates)
    xs, w, h = [x], x, h_i.mean(0)
    for t, cohort in enumerate(cohorts):
        total = np.zeros_like(x)
        for i in cohort:
            D = compress(t, i, gradient(i, w) - h_i[i])
            h_i[i] = h_i[i] + alpha * D
            total += D
        x = x - lr * server_compress(t, SERVER, h + total / len(cohort))
        h = h + alpha * total / clients
        w = w + model_compress(t, SERVER, x - w)
        xs.append(x)
    return Trace(np.stack(xs), server={"h": h, "w": w}, clients={"h": h_i})


def dore(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    alpha: float,
    compress: Compress,
    server_compress: Compress,
    beta: float = 1.0,
    eta: float = 1.0,
) -> Trace:
    """DORE (Liu et al. 2020): DIANA whose model travels as a compressed residual q with a memory e.

    The iterates are the clients' models: x <- x + beta Q(q), q being the server's step plus eta e.
    """
    h_i = table(clients, x)
    xs, h, e = [x], h_i.mean(0), np.zeros_like(x)
    for t, cohort in enumerate(cohorts):
        total = np.zeros_like(x)
        for i in cohort:
            D = compress(t, i, gradient(i, x) - h_i[i])
            h_i[i] = h_i[i] + alpha * D
            total += D
        q = -lr * (h + total / len(cohort)) + eta * e
        h = h + alpha * total / clients
        sent = server_compress(t, SERVER, q)
        e = q - sent
        x = x + beta * sent
        xs.append(x)
    return Trace(np.stack(xs), server={"h": h, "e": e}, clients={"h": h_i})


def marina(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    syncs: Sequence[bool] | NDArray[np.bool_],
    compress: Compress,
) -> Trace:
    """MARINA (Gorbunov et al. 2021): G starts as the whole gradient at x^0 and is corrected after each step.

    `syncs[t]` is the coin that all share: all clients send whole gradients at the new x. Otherwise the cohort
    sends compressed changes of its gradients; a cohort of fewer clients is PP-MARINA.
    """
    xs, G = [x], all_gradients(gradient, x, clients).mean(0)
    for t, cohort in enumerate(cohorts):
        old, x = x, x - lr * G
        if syncs[t]:
            G = all_gradients(gradient, x, clients).mean(0)
        else:
            G = G + np.mean([compress(t, i, gradient(i, x) - gradient(i, old)) for i in cohort], axis=0)
        xs.append(x)
    return Trace(np.stack(xs), server={"G": G})


def fedpaq(
    gradient: Gradient,
    x: Array,
    cohorts: Sequence[Cohort],
    *,
    lr: float | Array,
    steps: int,
    compress: Compress,
) -> Trace:
    """FedPAQ (Reisizadeh et al. 2020): x <- x - mean Q(x - y_i); `lr` may be given for each round, [T]."""
    xs, rates = [x], np.broadcast_to(lr, len(cohorts))
    for t, cohort in enumerate(cohorts):
        total = np.zeros_like(x)
        for i in cohort:
            total += compress(t, i, x - local_steps(gradient, i, x, rates[t], steps))
        x = x - total / len(cohort)
        xs.append(x)
    return Trace(np.stack(xs))


def fedcom(
    gradient: Gradient,
    x: Array,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    steps: int,
    server_lr: float,
    compress: Compress,
) -> Trace:
    """FedCOM (Haddadpour et al. 2021): the sum of the local gradients is compressed, D_i = (x - y_i) / lr."""
    xs = [x]
    for t, cohort in enumerate(cohorts):
        total = np.zeros_like(x)
        for i in cohort:
            total += compress(t, i, (x - local_steps(gradient, i, x, lr, steps)) / lr)
        x = x - lr * server_lr * total / len(cohort)
        xs.append(x)
    return Trace(np.stack(xs))


def fedcomgate(
    gradient: Gradient,
    x: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    steps: int,
    server_lr: float,
    compress: Compress,
) -> Trace:
    """FedCOMGATE (Haddadpour et al. 2021): FedCOM with gradient tracking; the shifts delta_i sum to zero.

    The paper has all clients in every round; here those outside the cohort keep delta_i.
    """
    xs, delta = [x], table(clients, x)
    for t, cohort in enumerate(cohorts):
        sent = {}
        for i in cohort:
            y = local_steps(gradient, i, x, lr, steps, shift=-delta[i])
            sent[i] = compress(t, i, (x - y) / lr)
        mean = sum(sent.values()) / len(cohort)
        for i in cohort:
            delta[i] += (sent[i] - mean) / steps
        x = x - lr * server_lr * mean
        xs.append(x)
    return Trace(np.stack(xs), clients={"delta": delta})


def masked_fedavg(
    gradient: Gradient,
    x: Array,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    steps: int,
    masks: NDArray[np.bool_],
    server_lr: float = 1.0,
    weights: Array | None = None,
    trained: bool = True,
    holders: bool = False,
) -> Trace:
    """FedAvg in which client i's update of round t lies in masks[t, i] (Konecny et al. 2016), masks [T, n, d].

    A structured update (`trained`) moves nothing else in local training; without it the client trains
    everything and sends a part. The server averages over the cohort, or each parameter over its `holders`.
    """
    xs = [x]
    for t, cohort in enumerate(cohorts):
        total, held = np.zeros_like(x), np.zeros_like(x)
        for i, p in zip(cohort, shares(cohort, weights), strict=True):
            y, mask = x, masks[t, i]
            for _ in range(steps):
                y = y - lr * gradient(i, y) * (mask if trained else 1.0)
            total += p * mask * (x - y)
            held += p * mask
        mean = np.divide(total, held, out=np.zeros_like(x), where=held > 0) if holders else total
        x = x - server_lr * mean
        xs.append(x)
    return Trace(np.stack(xs))
