"""Methods for variational inequalities: MASHA1, MASHA2, and the naive ones that they are compared with.

The gradient of client m is its operator F_m, and z* is where mean F_m is zero. For a saddle point it is
(gradient in x, minus the gradient in y); for a minimum it is the gradient.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cohorts import Cohort
from .common import Gradient, Trace, all_gradients, table
from .compressors import SERVER, Compress, identity
from .toys import Array
from .unbiased import dcgd

Prox = Callable[[Array], Array]


@dataclass(frozen=True)
class Minibatches:
    """A sampled operator: F_m is the mean of F_mj over j.

    Attributes:
        part: F_mj(z) as a function of (m, j, z).
        half: j of each client at the half step, [T, n].
        anchor: j of each client at the anchor, [T, n]; variance reduction needs the same j as `half`.
    """

    part: Callable[[int, int, Array], Array]
    half: NDArray[np.int64]
    anchor: NDArray[np.int64]


def masha1(
    gradient: Gradient,
    z: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    tau: float,
    syncs: Sequence[bool] | NDArray[np.bool_],
    compress: Compress,
    server_compress: Compress = identity,
    minibatches: Minibatches | None = None,
    prox: Prox = lambda z: z,
) -> Trace:
    """MASHA1 (Beznosikov et al. 2021) with unbiased compressors; `prox` is that of lr h.

    `syncs[t]` is the coin that all share: with probability 1 - tau the new z becomes the anchor w and all
    clients send F_m(w). A cohort of fewer clients is the variant with partial participation.
    """
    zs, w, F_w = [z], z, all_gradients(gradient, z, clients)
    for t, cohort in enumerate(cohorts):
        F = F_w.mean(0)
        zb = tau * z + (1 - tau) * w
        zh = prox(zb - lr * F)
        total = np.zeros_like(z)
        for m in cohort:
            total += compress(t, m, _difference(gradient, minibatches, t, m, zh, w, F_w[m]))
        D = server_compress(t, SERVER, total / len(cohort))
        z = prox(zb - lr * (F + D))
        if syncs[t]:
            w, F_w = z, all_gradients(gradient, z, clients)
        zs.append(z)
    return Trace(np.stack(zs), server={"w": w, "F": F_w.mean(0)}, clients={"F": F_w})


def masha2(
    gradient: Gradient,
    z: Array,
    clients: int,
    cohorts: Sequence[Cohort],
    *,
    lr: float,
    tau: float,
    syncs: Sequence[bool] | NDArray[np.bool_],
    compress: Compress,
    server_compress: Compress = identity,
    minibatches: Minibatches | None = None,
) -> Trace:
    """MASHA2 (Beznosikov et al. 2021) with contractive compressors: memories e_m, and e of the server.

    The step lr is inside the memories, which a sync does not reset. Clients outside the cohort keep e_m.
    """
    zs, w, F_w = [z], z, all_gradients(gradient, z, clients)
    e, server_e = table(clients, z), np.zeros_like(z)
    for t, cohort in enumerate(cohorts):
        zb = tau * z + (1 - tau) * w
        zh = zb - lr * F_w.mean(0)
        total = np.zeros_like(z)
        for m in cohort:
            a = lr * _difference(gradient, minibatches, t, m, zh, w, F_w[m]) + e[m]
            u = compress(t, m, a)
            e[m] = a - u
            total += u
        s = total / len(cohort) + server_e
        D = server_compress(t, SERVER, s)
        server_e = s - D
        z = zh - D
        if syncs[t]:
            w, F_w = z, all_gradients(gradient, z, clients)
        zs.append(z)
    server = {"w": w, "F": F_w.mean(0), "e": server_e}
    return Trace(np.stack(zs), server=server, clients={"F": F_w, "e": e})


def _difference(
    gradient: Gradient,
    minibatches: Minibatches | None,
    t: int,
    m: int,
    zh: Array,
    w: Array,
    at_anchor: Array,
) -> Array:
    """F_m(zh) - F_m(w), of the whole operator or of the minibatches."""
    if minibatches is None:
        return gradient(m, zh) - at_anchor
    j_half, j_anchor = minibatches.half[t, m], minibatches.anchor[t, m]
    return minibatches.part(m, j_half, zh) - minibatches.part(m, j_anchor, w)


def gda(gradient: Gradient, z: Array, cohorts: Sequence[Cohort], *, lr: float) -> Trace:
    """Gradient descent ascent: z <- z - lr mean F_m(z)."""
    return compressed_gda(gradient, z, cohorts, lr=lr, compress=identity)


def extragradient(gradient: Gradient, z: Array, cohorts: Sequence[Cohort], *, lr: float) -> Trace:
    """Extragradient (Korpelevich 1976): the step is taken with the operator at z - lr mean F_m(z)."""
    return compressed_extragradient(gradient, z, cohorts, lr=lr, compress=identity)


def compressed_gda(
    gradient: Gradient, z: Array, cohorts: Sequence[Cohort], *, lr: float, compress: Compress
) -> Trace:
    """Gradient descent ascent with compressed operators, without memory: compressed gradient descent."""
    return dcgd(gradient, z, cohorts, lr=lr, compress=compress)


def compressed_extragradient(
    gradient: Gradient, z: Array, cohorts: Sequence[Cohort], *, lr: float, compress: Compress
) -> Trace:
    """Extragradient with compressed operators at both points, without memory."""
    zs = [z]
    for t, cohort in enumerate(cohorts):
        zh = z - lr * np.mean([compress(t, m, gradient(m, z)) for m in cohort], axis=0)
        z = z - lr * np.mean([compress(t, m, gradient(m, zh)) for m in cohort], axis=0)
        zs.append(z)
    return Trace(np.stack(zs))


def ef_extragradient(
    gradient: Gradient, z: Array, clients: int, cohorts: Sequence[Cohort], *, lr: float, compress: Compress
) -> Trace:
    """Extragradient with error feedback: each of the two exchanges has a memory, e_half and e."""
    zs, e_half, e = [z], table(clients, z), table(clients, z)
    for t, cohort in enumerate(cohorts):
        zh = z - _fed_back(gradient, z, e_half, t, cohort, lr, compress)
        z = z - _fed_back(gradient, zh, e, t, cohort, lr, compress)
        zs.append(z)
    return Trace(np.stack(zs), clients={"e_half": e_half, "e": e})


def _fed_back(
    gradient: Gradient, z: Array, e: Array, t: int, cohort: Cohort, lr: float, compress: Compress
) -> Array:
    """The mean of C(lr F_m(z) + e_m) over the cohort; what is left out stays in e_m."""
    total = np.zeros_like(z)
    for m in cohort:
        a = lr * gradient(m, z) + e[m]
        u = compress(t, m, a)
        e[m] = a - u
        total += u
    return total / len(cohort)
