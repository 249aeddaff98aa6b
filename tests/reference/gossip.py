"""Gossip with whole models: D-PSGD, DFedAvg(M), gradient tracking, EXTRA, and push-sum for directed graphs.

Everyone steps at once. x [n, d] has the nodes' first models, W the weights, row = receiver (see `mixing`).
"""

from collections.abc import Sequence

import numpy as np

from .common import Gradient
from .mixing import GossipTrace, Lost, Recorder, gradients, kept, latest, rates, realised, trained
from .toys import Array


def d_psgd(
    gradient: Gradient,
    x: Array,
    W: Array,
    rounds: int,
    *,
    lr: float | Sequence[float],
    steps: int = 1,
    order: str = "atc",
    lost: Lost | None = None,
) -> GossipTrace:
    """D-PSGD (Lian et al. 2017).

    "atc", adapt then combine: x <- W (x after `steps` local steps). "cta", combine then adapt, the paper's order:
    x <- W x + (change of x by the local steps). A lost message counts as the receiver's own.
    """
    record = Recorder(x=x)
    for t, step in enumerate(rates(lr, rounds)):
        R, moved = realised(W, lost, t, latest), trained(gradient, x, step, steps)
        x = {"atc": R @ moved, "cta": R @ x + (moved - x)}[order]
        record.add(x=x)
    return record.trace()


def dfedavg(
    gradient: Gradient,
    x: Array,
    W: Array,
    rounds: int,
    *,
    lr: float | Sequence[float],
    steps: int,
    momentum: float = 0.0,
    lost: Lost | None = None,
) -> GossipTrace:
    """DFedAvg and, with momentum, DFedAvgM (Sun, Li, Wang 2021): adapt by heavy-ball steps, then combine.

    y^{k+1} = y^k - lr g(y^k) + momentum (y^k - y^{k-1}), from y^0 = y^{-1} = x in every round.
    """
    record = Recorder(x=x)
    for t, step in enumerate(rates(lr, rounds)):
        z = np.empty_like(x)
        for i in range(len(x)):
            before = y = x[i]
            for _ in range(steps):
                before, y = y, y - step * gradient(i, y) + momentum * (y - before)
            z[i] = y
        x = realised(W, lost, t, latest) @ z
        record.add(x=x)
    return record.trace()


def gradient_tracking(
    gradient: Gradient,
    x: Array,
    W: Array,
    rounds: int,
    *,
    lr: float,
    order: str = "atc",
    lost: Lost | None = None,
    lost_tracker: Lost | None = None,
) -> GossipTrace:
    """Gradient tracking (NEXT, DIGing; Nedic et al. 2017, Pu and Nedic 2018), from y^0 = g(x^0).

    "atc": x+ = W (x - lr y), y+ = W (y + g(x+) - g(x)). "cta": x+ = W x - lr y, y+ = W y + g(x+) - g(x).
    A lost x counts as the receiver's own; the share of a lost y (`lost_tracker`, by default those of x) stays with
    its sender, so that mean y stays the mean gradient.
    """
    lost_tracker = lost if lost_tracker is None else lost_tracker
    g = gradients(gradient, x)
    y = g
    record = Recorder(x=x, y=y, g=g)
    for t in range(rounds):
        R, C = realised(W, lost, t, latest), realised(W, lost_tracker, t, kept)
        x = {"atc": R @ (x - lr * y), "cta": R @ x - lr * y}[order]
        old, g = g, gradients(gradient, x)
        y = {"atc": C @ (y + g - old), "cta": C @ y + g - old}[order]
        record.add(x=x, y=y, g=g)
    return record.trace()


def extra(gradient: Gradient, x: Array, W: Array, rounds: int, *, lr: float) -> GossipTrace:
    """EXTRA (Shi, Ling, Wu, Yin 2015).

    x^1 = W x^0 - lr g^0, then x^{t+1} = (I + W) x^t - (I + W) x^{t-1} / 2 - lr (g^t - g^{t-1}).
    """
    I = np.eye(len(x))  # noqa: E741
    g = gradients(gradient, x)
    record = Recorder(x=x, g=g)
    old_x, old_g = x, g
    for t in range(rounds):
        if t == 0:
            x = W @ x - lr * g
        else:
            x, old_x = (I + W) @ x - (I + W) @ old_x / 2 - lr * (g - old_g), x
        old_g, g = g, gradients(gradient, x)
        record.add(x=x, g=g)
    return record.trace()


def push_sum(
    gradient: Gradient | None,
    x: Array,
    P: Array,
    rounds: int,
    *,
    lr: float = 0.0,
    steps: int = 1,
    lost: Lost | None = None,
) -> GossipTrace:
    """SGP, push-sum with gradients (Assran et al. 2019); without a gradient it averages. The model is z = s / w.

    s <- P (s + change of z by the local steps), w <- P w, from s = x and w = 1; the columns of P sum to one.
    A lost share of s and of w stays with its sender.
    """
    s, w = x, np.ones(len(x))
    record = Recorder(x=x, s=s, w=w)
    for t in range(rounds):
        C, z = realised(P, lost, t, kept), s / w[:, None]
        s = C @ (s + trained(gradient, z, lr, steps) - z)
        w = C @ w
        record.add(x=s / w[:, None], s=s, w=w)
    return record.trace()
