"""DFedSAM and DFedSAM-MGS: gossip whose local steps look for flat minima."""

import numpy as np

from .common import Gradient
from .mixing import GossipTrace, Lost, Recorder, latest, rates, realised
from .toys import Array


def dfedsam(
    gradient: Gradient,
    x: Array,
    W: Array,
    rounds: int,
    *,
    lr: float,
    steps: int,
    rho: float,
    exchanges: int = 1,
    decay: float = 1.0,
    lost: Lost | None = None,
) -> GossipTrace:
    """DFedSAM (Shi et al. 2023); with Q = `exchanges` > 1 it is DFedSAM-MGS.

    `steps` times y <- y - lr g(y + rho g(y) / |g(y)|), then Q times z <- W z. lr falls by `decay` each round. W and
    `lost`, if they change, have one matrix for each exchange, t Q + q; a lost message counts as the receiver's own.
    """
    record = Recorder(x=x)
    for t, step in enumerate(rates(lr * decay ** np.arange(rounds), rounds)):
        z = np.stack([_sharpness_aware(gradient, i, row, step, steps, rho) for i, row in enumerate(x)])
        for q in range(exchanges):
            z = realised(W, lost, t * exchanges + q, latest) @ z
        x = z
        record.add(x=x)
    return record.trace()


def _sharpness_aware(gradient: Gradient, node: int, y: Array, lr: float, steps: int, rho: float) -> Array:
    for _ in range(steps):
        g = gradient(node, y)
        y = y - lr * gradient(node, y + rho * g / (np.linalg.norm(g) + 1e-12))
    return y
