"""Clients whose operators are affine: what quadratics and bilinear saddle points have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from fedsparse.data.problem import Constants, relative
from fedsparse.lazy import cached_property
from fedsparse.rng import Streams

__all__ = ["Affine"]


class Affine:
    """F_i(x) = H_i x - b_i in float64; a :class:`~fedsparse.data.problem.Problem` whose solution is known.

    Args:
        H: ``[N, d, d]``; its mean must be invertible.
        b: ``[N, d]``.
        noise: standard deviation of Gaussian noise on each coordinate of a minibatch's F_i.
    """

    def __init__(self, H: Tensor, b: Tensor, noise: float = 0.0) -> None:
        self.H, self.b, self.noise = H, b, noise
        self.clients = len(b)
        self.start = torch.zeros(b.shape[1], dtype=b.dtype)

    def full_gradient(self, ids: Tensor, x: Tensor) -> Tensor:
        """F_i without noise, ``[C, d]``."""
        # Not a batched product: its bits depend on how many clients there are.
        return (self.H[ids] * x[:, None, :]).sum(-1) - self.b[ids]

    def gradient(self, ids: Tensor, x: Tensor, draw: Streams) -> Tensor:
        """F_i ``[C, d]``, with noise where the problem has it."""
        exact = self.full_gradient(ids, x)
        return exact + self.noise * draw.normal(x.shape[1], x.dtype) if self.noise else exact

    def operator(self, x: Tensor) -> Tensor:
        """The mean of all F_i at ``x [d]``, ``[d]``."""
        return self.H.mean(0) @ x - self.b.mean(0)

    @cached_property
    def solution(self) -> Tensor:
        """Where the mean of all F_i is zero, ``[d]``."""
        found: Tensor = torch.linalg.solve(self.H.mean(0), self.b.mean(0))
        return found

    @cached_property
    def constants(self) -> Constants:
        """From the symmetric part of the mean H, and from singular values."""
        mean, own = self.H.mean(0), torch.linalg.matrix_norm(self.H, 2)
        mu = float(torch.linalg.eigvalsh((mean + mean.T) / 2)[0])
        return Constants(
            mu=mu,
            L=float(torch.linalg.matrix_norm(mean, 2)),
            L_max=float(own.max()),
            L_rms=float(own.square().mean().sqrt()),
        )

    def distance(self, x: Tensor) -> float:
        """Distance of ``x [d]`` to the solution, 1 at the start."""
        return relative(x - self.solution, self.start - self.solution)
