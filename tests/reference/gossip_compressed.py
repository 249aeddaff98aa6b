"""Gossip with compressed messages: CHOCO in its two forms, BEER, DeepSqueeze, and the naive exchange that stalls.

Everyone steps at once. x [n, d] has the nodes' first models, W the weights, row = receiver (see `mixing`), and
compress(round, node, vector) is called for the nodes in ascending order. Without a gradient nobody trains.
"""

import numpy as np

from .common import Gradient
from .compressors import Compress
from .mixing import GossipTrace, Lost, Recorder, compressed, gradients, latest, losses, realised, trained
from .toys import Array


def choco(
    gradient: Gradient | None,
    x: Array,
    W: Array,
    rounds: int,
    *,
    gamma: float,
    compress: Compress,
    lr: float = 0.0,
    steps: int = 1,
) -> GossipTrace:
    """CHOCO-SGD (Koloskova, Stich, Jaggi 2019) with running sums s_i = sum_j W_ij xhat_j; W never changes.

    Train; q = Q(x - xhat), sent to all neighbours; xhat += q; s += W q; x += gamma (s - xhat).
    """
    xhat, s = np.zeros_like(x), np.zeros_like(x)
    record = Recorder(x=x, xhat=xhat, s=s)
    for t in range(rounds):
        half = trained(gradient, x, lr, steps)
        q = compressed(compress, t, half - xhat)
        xhat = xhat + q
        s = s + W @ q
        x = half + gamma * (s - xhat)
        record.add(x=x, xhat=xhat, s=s)
    return record.trace()


def choco_copies(
    gradient: Gradient | None,
    x: Array,
    W: Array,
    rounds: int,
    *,
    gamma: float,
    compress: Compress,
    lr: float = 0.0,
    steps: int = 1,
    lost: Lost | None = None,
) -> GossipTrace:
    """CHOCO-SGD with a copy of every neighbour's xhat: x_i += gamma sum_j W_ij (xhat_j - xhat_i).

    `copies[i, j]` is xhat_j as i has it. What is lost rides along with the next message that arrives, and j learns
    what i has. Then both ends of a link mix what they have of each other,
    x_i += gamma sum_j W_ij (copies[i, j] - copies[j, i]), so that with a symmetric W the mean of x stays.
    """
    xhat, copies = np.zeros_like(x), _copies(x)
    record = Recorder(x=x, xhat=xhat, copies=copies)
    for t in range(rounds):
        half = trained(gradient, x, lr, steps)
        xhat = xhat + compressed(compress, t, half - xhat)
        copies = _delivered(copies, xhat, losses(lost, t, len(x)))
        x = half + gamma * _pulled(W, copies)
        record.add(x=x, xhat=xhat, copies=copies)
    return record.trace()


def beer(
    gradient: Gradient,
    x: Array,
    W: Array,
    rounds: int,
    *,
    lr: float,
    gamma: float,
    compress: Compress,
    compress_tracker: Compress | None = None,
    lost: Lost | None = None,
) -> GossipTrace:
    """BEER (Zhao et al. 2022): gradient tracking with compressed differences of x (copies h) and of v (copies G).

    From v = g = gradient at x^0 and h = G = 0: x+ = x + gamma (W - I) h - lr v; h+ = h + Q(x+ - h);
    v+ = v + gamma (W - I) G + g(x+) - g; G+ = G + Q(v+ - G). One message has both Q; losses as in `choco_copies`.
    """
    Q_v = compress if compress_tracker is None else compress_tracker
    g = gradients(gradient, x)
    v, h, G = g, np.zeros_like(x), np.zeros_like(x)
    h_copies, G_copies = _copies(x), _copies(x)
    record = Recorder(x=x, v=v, g=g, h=h, G=G)
    for t in range(rounds):
        gone = losses(lost, t, len(x))
        x = x + gamma * _pulled(W, h_copies) - lr * v
        h = h + compressed(compress, t, x - h)
        old, g = g, gradients(gradient, x)
        v = v + gamma * _pulled(W, G_copies) + g - old
        G = G + compressed(Q_v, t, v - G)
        h_copies, G_copies = _delivered(h_copies, h, gone), _delivered(G_copies, G, gone)
        record.add(x=x, v=v, g=g, h=h, G=G)
    return record.trace()


def deepsqueeze(
    gradient: Gradient | None,
    x: Array,
    W: Array,
    rounds: int,
    *,
    gamma: float,
    compress: Compress,
    lr: float = 0.0,
    steps: int = 1,
    lost: Lost | None = None,
) -> GossipTrace:
    """DeepSqueeze (Tang et al. 2019): v = x - lr g + e; c = Q(v) is sent; e = v - c; x <- x - lr g + gamma (W - I) c.

    A lost c counts as the receiver's own.
    """
    e = np.zeros_like(x)
    record = Recorder(x=x, e=e)
    for t in range(rounds):
        half = trained(gradient, x, lr, steps)
        c = compressed(compress, t, half + e)
        e = half + e - c
        x = half + gamma * (realised(W, lost, t, latest) @ c - c)
        record.add(x=x, e=e)
    return record.trace()


def naive(
    gradient: Gradient | None,
    x: Array,
    W: Array,
    rounds: int,
    *,
    gamma: float,
    compress: Compress,
    lr: float = 0.0,
    steps: int = 1,
) -> GossipTrace:
    """Exchange of compressed models without memory: x <- x + gamma (W - I) Q(x) after training."""
    record = Recorder(x=x)
    for t in range(rounds):
        half = trained(gradient, x, lr, steps)
        c = compressed(compress, t, half)
        x = half + gamma * (W @ c - c)
        record.add(x=x)
    return record.trace()


def theoretical_gamma(W: Array, contraction: float) -> float:
    """CHOCO's step in the theory (Koloskova, Stich, Jaggi 2019, theorem 2); contraction: k/d for top-k and rand-k."""
    delta = 1 - np.linalg.norm(W - 1 / len(W), 2)
    beta = np.linalg.norm(np.eye(len(W)) - W, 2)
    most = 16 * delta + delta**2 + 4 * beta**2 + 2 * delta * beta**2 - 8 * delta * contraction
    return float(delta**2 * contraction / most)


def _copies(x: Array) -> Array:
    """What everyone has of everyone at first, [receiver, sender, d]: zeros."""
    return np.zeros((len(x), *x.shape))


def _delivered(copies: Array, sent: Array, lost: Lost) -> Array:
    """The copies after an exchange: where a message arrived it is what the sender has."""
    return np.where(lost[:, :, None], copies, sent[None])


def _pulled(W: Array, copies: Array) -> Array:
    """Sum over j of W_ij (copies[i, j] - copies[j, i]), [n, d]."""
    return np.einsum("ij,ijd->id", W, copies - copies.swapaxes(0, 1))
