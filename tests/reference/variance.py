"""Variance-corrected averaging: models that start from different weights keep their variance when they are averaged."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .common import Gradient
from .mixing import GossipTrace, Lost, Recorder, losses, trained, weights
from .toys import Array

TINY = 1e-12


def variance_corrected(
    gradient: Gradient | None,
    x: Array,
    W: Array,
    rounds: int,
    *,
    tensors: Sequence[slice],
    beta: float = 0.5,
    target: str = "others",
    partial: float = 1.0,
    masks: NDArray[np.bool_] | None = None,
    lr: float = 0.0,
    steps: int = 1,
    lost: Lost | None = None,
) -> GossipTrace:
    """Train, average as beta own + (1 - beta) mean of the others that W links with, correct (Tian et al. 2024).

    In each of `tensors` the mean of the average stays, and its variance becomes the `target`: "others", the mean of
    the received variances; "self", the own one before averaging; "follow_beta", beta own + (1 - beta) others.
    `partial` is how much of the correction is done. Of W only the proportions of the others count; where messages
    are lost the mean is over those that arrived, and who hears nothing stays as it is. With `masks` [n, d] each
    variance is over what is active at that node, and that of the average over what is active at any of its parts.
    """
    active = np.ones(x.shape, dtype=bool) if masks is None else masks
    record = Recorder(x=x)
    for t in range(rounds):
        half = trained(gradient, x, lr, steps)
        shares = _shares(weights(W, t), losses(lost, t, len(x)))
        variances = np.array([[_variance(*pair) for pair in _cut(half, active, k)] for k in tensors])
        x = half.copy()
        for i in np.flatnonzero(shares.any(1)):
            x[i] = beta * half[i] + (1 - beta) * shares[i] @ half
            parts = (shares[i] > 0) | ((np.arange(len(x)) == i) & (beta > 0))
            for tensor, variance in zip(tensors, variances, strict=True):
                goal = _goal(target, beta, variance[i], shares[i] @ variance)
                x[i, tensor] = _on(active[parts][:, tensor].any(0), x[i, tensor], goal, partial)
        record.add(x=x)
    return record.trace()


def corrected(y: Array, target: float, partial: float = 1.0) -> Array:
    """Y with the variance `target` and its own mean; as it is where one of the variances is next to nothing."""
    if y.size == 0 or y.var() < TINY or target < TINY:
        return y
    factor = 1 + partial * (np.sqrt(target / y.var()) - 1)
    return y.mean() + factor * (y - y.mean())


def _shares(W: Array, lost: Lost) -> Array:
    """What each node gives to the others, [n, n]: rows sum to one, or to zero where nothing arrived."""
    others = np.where(lost | np.eye(len(W), dtype=bool), 0.0, W)
    sums = others.sum(1, keepdims=True)
    return others / np.where(sums == 0, 1.0, sums)


def _cut(x: Array, active: NDArray[np.bool_], tensor: slice) -> Iterator[tuple[Array, NDArray[np.bool_]]]:
    """One tensor of each node, and what is active in it."""
    return zip(x[:, tensor], active[:, tensor], strict=True)


def _variance(x: Array, active: NDArray[np.bool_]) -> float:
    return float(x[active].var()) if active.any() else 0.0


def _goal(target: str, beta: float, own: float, others: float) -> float:
    return {"others": others, "self": own, "follow_beta": beta * own + (1 - beta) * others}[target]


def _on(active: NDArray[np.bool_], y: Array, target: float, partial: float) -> Array:
    """Y with its active entries corrected."""
    y = y.copy()
    y[active] = corrected(y[active], target, partial)
    return y
