"""Heterogeneous quadratics in float64 with a known optimum; a problem rather than examples, so it has no partition."""

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
    size: int = 40,
    spread: float = 5.0,
    noise: float = 0.0,
) -> Problem:
    """Generate the problem; client k's quadratic depends on the seed and k only.

    Args:
        data_dir: not used.
        seed: the key of all draws.
        clients: how many quadratics; 0: as many as the run has clients (10 outside of a run).
        size: parameters d.
        spread: how much the clients' minimisers differ.
        noise: standard deviation of the noise on each coordinate of a minibatch gradient.
    """
    from fedsparse.data.quadratic import Quadratics

    whole("clients", clients, 0)
    whole("size", size, 1)
    within("spread", spread, 0)
    within("noise", noise, 0)
    return Quadratics.drawn(clients or 10, size, spread, noise, seed)
