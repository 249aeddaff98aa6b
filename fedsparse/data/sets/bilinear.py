"""Purely bilinear saddle points in float64, on which gradient descent-ascent diverges; without examples."""

from __future__ import annotations

from pathlib import Path

from fedsparse.data.checks import whole, within
from fedsparse.data.problem import Problem

__all__ = ["load"]


def load(
    data_dir: Path | None,  # noqa: ARG001 - generated
    seed: int,
    *,
    clients: int = 0,
    size: int = 20,
    disagreement: float = 0.5,
    spread: float = 3.0,
    noise: float = 0.0,
) -> Problem:
    """Generate min over x, max over y of x'A y + a'x + b'y, a part for each client, with A near the identity.

    Client k's part depends on the seed and k only; its A is I + disagreement * Gaussian / sqrt(size).

    Args:
        data_dir: not used.
        seed: the key of all draws.
        clients: how many; 0: as many as the run has clients (10 outside of a run).
        size: entries of x, and of y.
        disagreement: how much the clients' A differ, less than about 1 so that the mean can be inverted.
        spread: standard deviation of the entries of a and b.
        noise: standard deviation of the noise on each coordinate of a minibatch's operator.
    """
    from fedsparse.data.saddle import Saddle

    whole("clients", clients, 0)
    whole("size", size, 1)
    within("disagreement", disagreement, 0)
    within("spread", spread, 0)
    within("noise", noise, 0)
    return Saddle.drawn(clients or 10, size, 1.0, disagreement, spread, 0.0, noise, seed)
