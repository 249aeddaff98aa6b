"""Analytic problems with a known solution: every client holds an affine field F_i(x) = H_i x - b_i.

A quadratic f_i(x) = x'H_i x / 2 - b_i'x has this gradient; a bilinear saddle point problem has this operator.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Toy:
    """Clients with affine fields; the solution is the zero of their mean.

    Attributes:
        H: matrices [n, d, d]; symmetric for quadratics.
        b: offsets [n, d].
        x0: starting point [d].
    """

    H: Array
    b: Array
    x0: Array = field(repr=False)

    @property
    def clients(self) -> int:
        """Number n of clients."""
        return len(self.b)

    @property
    def size(self) -> int:
        """Number d of parameters."""
        return self.b.shape[1]

    def gradient(self, client: int, x: Array) -> Array:
        """F_i(x) of one client, [d]."""
        return self.H[client] @ x - self.b[client]

    def gradients(self, x: Array) -> Array:
        """F_i(x) of all clients, [n, d]."""
        return self.H @ x - self.b

    @cached_property
    def x_star(self) -> Array:
        """The solution, [d]."""
        return np.linalg.solve(self.H.mean(0), self.b.mean(0))

    def error(self, x: Array) -> float:
        """Distance to the solution, relative to that of the starting point."""
        return float(np.linalg.norm(x - self.x_star) / np.linalg.norm(self.x0 - self.x_star))

    @property
    def mu(self) -> float:
        """Strong convexity (monotonicity) of the mean."""
        mean = self.H.mean(0)
        return float(np.linalg.eigvalsh((mean + mean.T) / 2).min())

    @property
    def L(self) -> float:  # noqa: N802
        """Lipschitz constant of the mean field."""
        return float(np.linalg.norm(self.H.mean(0), 2))

    @property
    def L_clients(self) -> Array:  # noqa: N802
        """Lipschitz constant of each client's field, [n]."""
        return np.linalg.norm(self.H, 2, axis=(1, 2))

    @property
    def heterogeneity(self) -> float:
        """Mean squared norm of the clients' fields at the solution."""
        return float((self.gradients(self.x_star) ** 2).sum(1).mean())


def q_toy(seed: int = 2024, clients: int = 10, size: int = 40, spread: float = 5.0) -> Toy:
    """Heterogeneous, strongly convex quadratics."""
    r = np.random.default_rng(seed)
    H, b = np.empty((clients, size, size)), np.empty((clients, size))
    for i in range(clients):
        A = r.standard_normal((size, size))
        H[i] = A.T @ A / size + 0.5 * np.eye(size)
        b[i] = spread * r.standard_normal(size)
    return Toy(H, b, np.zeros(size))


def lossy_toy() -> Toy:
    """Twenty heterogeneous quadratics of 100 parameters: top-k of 5 % keeps k = 5 of them."""
    return q_toy(seed=20, clients=20, size=100)


def b_toy() -> Toy:
    """Strongly monotone saddle point: x'A_m y + a_m'x + b_m'y + 0.1 |x|^2 - 0.1 |y|^2, z = (x, y)."""
    return _saddle(seed=5, lam=0.2, matrix=lambda draw: draw / np.sqrt(20))


def b0_toy() -> Toy:
    """Purely bilinear saddle point."""
    return _saddle(seed=6, lam=0.0, matrix=lambda draw: np.eye(20) + 0.5 * draw / np.sqrt(20))


def divergence_toy() -> Toy:
    """Three functions <a_i, x>^2 + |x|^2 / 4: Top1 without memory diverges (Beznosikov et al. 2020)."""
    a = np.array([[-3.0, 2.0, 2.0], [2.0, -3.0, 2.0], [2.0, 2.0, -3.0]])
    H = 2.0 * a[:, :, None] * a[:, None, :] + 0.5 * np.eye(3)
    return Toy(H, np.zeros((3, 3)), np.ones(3))


def fedavg_fixed_point(toy: Toy, lr: float, steps: int, prox: float = 0.0) -> Array:
    """Where FedAvg (FedProx with `prox` > 0) with all clients and exact gradients ends: not at the solution.

    With P_i = H_i + prox I, one round is x <- x - mean M_i P_i^-1 F_i(x), where M_i = I - (I - lr P_i)^steps.
    """
    identity = np.eye(toy.size)
    total, offset = np.zeros_like(identity), np.zeros(toy.size)
    for H, b in zip(toy.H, toy.b, strict=True):
        P = H + prox * identity
        M = identity - np.linalg.matrix_power(identity - lr * P, steps)
        total += M @ np.linalg.solve(P, H)
        offset += M @ np.linalg.solve(P, b)
    return np.linalg.solve(total, offset)


def _saddle(
    seed: int, lam: float, matrix: Callable[[Array], Array], clients: int = 10, half: int = 20
) -> Toy:
    r = np.random.default_rng(seed)
    H, b = np.empty((clients, 2 * half, 2 * half)), np.empty((clients, 2 * half))
    for m in range(clients):
        A = matrix(r.standard_normal((half, half)))
        H[m] = np.block([[lam * np.eye(half), A], [-A.T, lam * np.eye(half)]])
        b[m, :half] = -3 * r.standard_normal(half)
        b[m, half:] = 3 * r.standard_normal(half)
    return Toy(H, b, np.zeros(2 * half))
