"""Strongly monotone saddle points in float64 with a known solution; without examples."""

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
    mu: float = 0.2,
    spread: float = 3.0,
    noise: float = 0.0,
) -> Problem:
    """Generate min over x, max over y of x'A y + a'x + b'y + mu |x|^2 / 2 - mu |y|^2 / 2, a part for each client.

    Client k's part depends on the seed and k only; its A has independent Gaussian entries of variance 1 / size.

    Args:
        data_dir: not used.
        seed: the key of all draws.
        clients: how many; 0: as many as the run has clients (10 outside of a run).
        size: entries of x, and of y.
        mu: strong convexity in x and concavity in y.
        spread: standard deviation of the entries of a and b, by which clients disagree.
        noise: standard deviation of the noise on each coordinate of a minibatch's operator.
    """
    from fedsparse.data.saddle import Saddle

    whole("clients", clients, 0)
    whole("size", size, 1)
    within("mu", mu, 0, open_low=True)
    within("spread", spread, 0)
    within("noise", noise, 0)
    return Saddle.drawn(clients or 10, size, 0.0, 1.0, spread, mu, noise, seed)
