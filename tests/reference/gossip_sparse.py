"""Gossip with parts of models: random subsampling, partial models, JWINS.

Everyone steps at once. x [n, d] has the nodes' first models, W the weights, row = receiver (see `mixing`). Who
receives a part fills the rest with its own values, so that with m_j the mask of what j sent
x_i <- x_i + sum_j W_ij m_j (x_j - x_i). A lost message leaves its weight with the receiver's own.
"""

import numpy as np
from numpy.typing import NDArray

from .common import Gradient
from .mixing import GossipTrace, Lost, Recorder, latest, realised, trained
from .toys import Array
from .wavelets import Wavelet

Masks = NDArray[np.bool_]


def random_subsampling(
    gradient: Gradient | None,
    x: Array,
    W: Array,
    rounds: int,
    *,
    masks: Masks,
    lr: float = 0.0,
    steps: int = 1,
    lost: Lost | None = None,
) -> GossipTrace:
    """Train, then exchange what the senders' masks [T, n, d] let through."""
    record = Recorder(x=x)
    for t in range(rounds):
        half = trained(gradient, x, lr, steps)
        x = _completed(realised(W, lost, t, latest), half, masks[t])
        record.add(x=x)
    return record.trace()


def partial_model(
    gradient: Gradient | None,
    x: Array,
    W: Array,
    rounds: int,
    *,
    kept: int,
    lr: float = 0.0,
    steps: int = 1,
    averaging: bool = True,
    lost: Lost | None = None,
) -> GossipTrace:
    """Each node sends those `kept` coordinates of its model that changed most since it last sent them.

    V collects the changes by training, and with `averaging` those by the exchange; it is 0 where one was just sent.
    """
    V = np.zeros_like(x)
    record = Recorder(x=x, V=V)
    for t in range(rounds):
        half = trained(gradient, x, lr, steps)
        V = V + half - x
        m = np.stack([largest(v, kept) for v in V])
        V = np.where(m, 0.0, V)
        x = _completed(realised(W, lost, t, latest), half, m)
        V = V + (x - half if averaging else 0.0)
        record.add(x=x, V=V)
    return record.trace()


def jwins(
    gradient: Gradient | None,
    x: Array,
    W: Array,
    rounds: int,
    *,
    wavelet: Wavelet,
    shares: Array,
    whole: float = 1.0,
    lr: float = 0.0,
    steps: int = 1,
    averaging: bool = False,
    lost: Lost | None = None,
) -> GossipTrace:
    """JWINS (Dhasade et al. 2023): as a partial model, of wavelet coefficients, with a random share of them.

    Node j sends those round(alpha) of its D coefficients that changed most, alpha = `shares[t, j]` D; from a share of
    `whole` on it sends them all. V collects the changes of the coefficients by training, and with `averaging` those
    by the exchange. The mean of the coefficients is transformed back and cut to the model's size.
    """
    size = x.shape[1]
    forward, back = wavelet.forward, lambda c: wavelet.back(c, size)
    V = np.zeros_like(np.stack([forward(row) for row in x]))
    record = Recorder(x=x, V=V)
    for t in range(rounds):
        half = trained(gradient, x, lr, steps)
        c = np.stack([forward(row) for row in half])
        V = V + c - np.stack([forward(row) for row in x])
        m = np.stack([_sent(v, share, whole) for v, share in zip(V, shares[t], strict=True)])
        V = np.where(m, 0.0, V)
        x = np.stack([back(row) for row in _completed(realised(W, lost, t, latest), c, m)])
        V = V + (np.stack([forward(row) for row in x]) - c if averaging else 0.0)
        record.add(x=x, V=V)
    return record.trace()


def largest(v: Array, kept: int) -> Masks:
    """Where the `kept` entries of largest magnitude are, [d]; on ties those of lowest index."""
    mask = np.zeros(v.size, dtype=bool)
    mask[np.argsort(-np.abs(v), kind="stable")[:kept]] = True
    return mask


def _sent(v: Array, share: float, whole: float) -> Masks:
    return largest(v, v.size if share >= whole else round(share * v.size))


def _completed(R: Array, x: Array, masks: Masks) -> Array:
    """x_i + sum_j R_ij m_j (x_j - x_i), [n, d]."""
    out = x.copy()
    for i in range(len(x)):
        for j in range(len(x)):
            out[i] += R[i, j] * np.where(masks[j], x[j] - x[i], 0.0)
    return out
