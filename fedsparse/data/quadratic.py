"""Quadratics that differ between clients, with a known optimum: where methods show whether they are exact."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fedsparse import rng
from fedsparse.data.affine import Affine

__all__ = ["Quadratics"]


class Quadratics(Affine):
    """f_i(x) = x'H_i x / 2 - b_i'x in float64; a :class:`~fedsparse.data.problem.Problem`.

    Args:
        H: symmetric positive definite, ``[N, d, d]``.
        b: ``[N, d]``.
        noise: standard deviation of Gaussian noise on each coordinate of a minibatch gradient.
    """

    @classmethod
    def drawn(cls, clients: int, size: int, spread: float, noise: float, seed: int) -> Quadratics:
        """H_i = A'A/d + I/2 with Gaussian A, b_i Gaussian with standard deviation ``spread``; keyed by client."""
        H = np.empty((clients, size, size))
        b = np.empty((clients, size))
        for client in range(clients):
            generator = rng.stream(seed, "data:quadratic", client=client)
            a = generator.standard_normal((size, size))
            H[client] = a.T @ a / size + 0.5 * np.eye(size)
            b[client] = spread * generator.standard_normal(size)
        return cls(torch.from_numpy(H), torch.from_numpy(b), noise)

    def loss(self, ids: Tensor, x: Tensor) -> Tensor:
        """f_i(x), ``[C]``."""
        linear = self.full_gradient(ids, x) - self.b[ids]
        return (linear * x).sum(1) / 2

    @property
    def optimum(self) -> Tensor:
        """The minimiser of the mean of all f_i, ``[d]``."""
        return self.solution

    def fixed_point(self, lr: float, steps: int) -> Tensor:
        """Where averaging ``steps`` local gradient steps of size ``lr`` comes to rest, ``[d]``.

        It solves sum_i M_i (x - x_i) = 0 with M_i = I - (I - lr H_i)^steps and x_i the client's own minimiser.
        """
        eye = torch.eye(self.b.shape[1], dtype=self.b.dtype)
        moved = eye - torch.linalg.matrix_power(eye - lr * self.H, steps)
        own = torch.linalg.solve(self.H, self.b)
        found: Tensor = torch.linalg.solve(moved.sum(0), (moved @ own[:, :, None]).sum(0)[:, 0])
        return found

    def evaluate(self, x: Tensor) -> Mapping[str, float]:
        """``distance``: relative distance to the optimum, 1 at the start."""
        return {"distance": self.distance(x)}
