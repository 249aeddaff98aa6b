"""Quadratics that differ between clients, with a known optimum: where methods show whether they are exact."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fedsparse import rng
from fedsparse.data.problem import Constants

__all__ = ["Quadratics"]


class Quadratics:
    """f_i(x) = x'H_i x / 2 - b_i'x in float64; a :class:`~fedsparse.data.problem.Problem`.

    Args:
        H: symmetric positive definite, ``[N, d, d]``.
        b: ``[N, d]``.
        noise: standard deviation of Gaussian noise on each coordinate of a minibatch gradient.
    """

    def __init__(self, H: Tensor, b: Tensor, noise: float = 0.0) -> None:
        self.H, self.b, self.noise = H, b, noise
        self.clients = len(b)
        self.start = torch.zeros(b.shape[1], dtype=b.dtype)

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

    def full_gradient(self, ids: Tensor, x: Tensor) -> Tensor:
        """Gradients without noise, ``[C, d]``."""
        # Not a batched product: its bits depend on how many clients there are.
        return (self.H[ids] * x[:, None, :]).sum(-1) - self.b[ids]

    def gradient(self, ids: Tensor, x: Tensor, draw: rng.Streams) -> Tensor:
        """Gradients ``[C, d]``, with noise where the problem has it."""
        exact = self.full_gradient(ids, x)
        return exact + self.noise * draw.normal(x.shape[1], x.dtype) if self.noise else exact

    def loss(self, ids: Tensor, x: Tensor) -> Tensor:
        """f_i(x), ``[C]``."""
        linear = self.full_gradient(ids, x) - self.b[ids]
        return (linear * x).sum(1) / 2

    @cached_property
    def optimum(self) -> Tensor:
        """The minimiser of the mean of all f_i, ``[d]``."""
        found: Tensor = torch.linalg.solve(self.H.mean(0), self.b.mean(0))
        return found

    @cached_property
    def constants(self) -> Constants:
        """From the eigenvalues of the H_i and of their mean."""
        mean = torch.linalg.eigvalsh(self.H.mean(0))
        own = torch.linalg.eigvalsh(self.H)[:, -1]
        return Constants(float(mean[0]), float(mean[-1]), float(own.max()), float(own.square().mean().sqrt()))

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
        return {"distance": math.sqrt(float((x - self.optimum).square().sum() / self.optimum.square().sum()))}
