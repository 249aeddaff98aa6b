"""Saddle points with bilinear coupling, alike in form and different between clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from fedsparse import rng
from fedsparse.data.affine import Affine
from fedsparse.data.problem import relative
from fedsparse.theory import ProblemClass

__all__ = ["Saddle"]


class Saddle(Affine):
    """min over x, max over y of the mean of g_m(x, y) = x'A_m y + a_m'x + b_m'y + mu ||x||^2 / 2 - mu ||y||^2 / 2.

    A :class:`~fedsparse.data.problem.Problem` whose ``gradient`` is the operator (grad_x g_m, -grad_y g_m) at
    z = (x, y). Strongly monotone with ``mu``; with mu = 0 purely bilinear, where descent-ascent diverges.

    Args:
        A: ``[N, p, p]``.
        a: ``[N, p]``.
        b: ``[N, p]``.
        mu: strong convexity in x and strong concavity in y.
        noise: standard deviation of Gaussian noise on each coordinate of a minibatch's operator.
    """

    def __init__(self, A: Tensor, a: Tensor, b: Tensor, mu: float = 0.0, noise: float = 0.0) -> None:
        size = a.shape[1]
        eye = mu * torch.eye(size, dtype=A.dtype).expand_as(A)
        upper, lower = torch.cat([eye, A], 2), torch.cat([-A.mT, eye], 2)
        super().__init__(torch.cat([upper, lower], 1), torch.cat([-a, b], 1), noise)
        self.mu, self.shapes = mu, {"x": (size,), "y": (size,)}

    problem_class: ClassVar[ProblemClass] = "operators"

    @classmethod
    def drawn(
        cls,
        clients: int,
        size: int,
        common: float,
        coupling: float,
        spread: float,
        mu: float,
        noise: float,
        seed: int,
    ) -> Saddle:
        """A_m = ``common`` I + ``coupling`` G / sqrt(p), a_m and b_m = ``spread`` g, with Gaussian G and g.

        Keyed by client: who a client is does not depend on how many there are.
        """
        A = np.empty((clients, size, size))
        a, b = np.empty((clients, size)), np.empty((clients, size))
        for client in range(clients):
            generator = rng.stream(seed, "data:saddle", client=client)
            draw = generator.standard_normal((size, size))
            A[client] = common * np.eye(size) + coupling * draw / np.sqrt(size)
            a[client], b[client] = spread * generator.standard_normal((2, size))
        return cls(torch.from_numpy(A), torch.from_numpy(a), torch.from_numpy(b), mu, noise)

    def gap(self, z: Tensor) -> float:
        """The duality gap max_y g(x, .) - min_x g(., y) of ``z [d]``, where mu > 0; 0 at the solution.

        With u = A y + a and v = -(A'x + b), F = (mu x + u, mu y + v). The best answer to x is -v / mu, to y it is
        -u / mu, which makes the gap ||F||^2 / (2 mu).
        """
        return float(self.operator(z).square().sum() / (2 * self.mu))

    def evaluate(self, z: Tensor) -> Mapping[str, float]:
        """``distance`` to the solution, ``operator_norm`` and (mu > 0) duality ``gap``; each is 1 at the start."""
        found = {
            "distance": self.distance(z),
            "operator_norm": relative(self.operator(z), self.operator(self.start)),
        }
        return found | ({"gap": self.gap(z) / self.gap(self.start)} if self.mu else {})
