"""The clients of the trials: their gradients are elementwise, so that no library's choice of kernel shows in a bit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from fedsparse import rng
from fedsparse.lazy import cached_property

__all__ = ["Springs", "Still"]

SHAPES = {"weight": (4, 5), "bias": (4,)}
"""The tensors of the parameter vector."""

PRUNABLE = ("weight",)
"""Those that strategies with sparse models may prune."""

_SIZE = 24
_SEED = 11


@dataclass
class Springs:
    """f_i(x) = sum_j h_ij (x_j - b_ij)^2 / 2 + sum_j (x_j - x_{j+1})^2 / 8: a :class:`~fedsparse.data.problem.Problem`.

    Matrix products may differ in the last bit between a block of one client and a block of five. Here every operation
    is elementwise, so a difference is the strategy's.

    Attributes:
        stiffness: h, ``[N, d]``.
        rest: b, ``[N, d]``.
        start: where everybody starts, ``[d]``.
        sizes: examples of each client, ``[N]``.
        noise: standard deviation of the noise on minibatch gradients.
        clients: how many there are.
    """

    stiffness: Tensor
    rest: Tensor
    start: Tensor
    sizes: Tensor
    noise: float = 0.1
    clients: int = field(init=False)

    shapes = SHAPES
    prunable = PRUNABLE

    def __post_init__(self) -> None:
        self.clients = len(self.rest)

    @classmethod
    def drawn(cls, clients: int = 8, dtype: torch.dtype = torch.float64) -> Self:
        """Clients that differ in what they want, and in their numbers of examples."""
        draw = rng.stream(_SEED, "testing:springs")
        stiffness = 0.5 + draw.random((clients, _SIZE))
        rest = draw.standard_normal((clients, _SIZE))
        start = draw.standard_normal(_SIZE)
        h, b, x = (torch.from_numpy(values).to(dtype) for values in (stiffness, rest, start))
        return cls(h, b, x, sizes=1 + torch.arange(clients) % 3)

    def alike(self) -> Self:
        """Without noise, and with one example each: clients may trade places."""
        return replace(self, noise=0.0, sizes=torch.ones_like(self.sizes))

    def reordered(self, order: Tensor) -> Self:
        """Client k is what client ``order[k]`` was."""
        return replace(self, stiffness=self.stiffness[order], rest=self.rest[order], sizes=self.sizes[order])

    def full_gradient(self, ids: Tensor, x: Tensor) -> Tensor:
        """Gradients without noise, ``[C, d]``."""
        neighbours = x.roll(1, 1) + x.roll(-1, 1)
        return self.stiffness[ids] * (x - self.rest[ids]) + (2 * x - neighbours) / 4

    def gradient(self, ids: Tensor, x: Tensor, draw: rng.Streams) -> Tensor:
        """Minibatch gradients ``[C, d]``."""
        exact = self.full_gradient(ids, x)
        return exact + self.noise * draw.normal(x.shape[1], x.dtype) if self.noise else exact

    @cached_property
    def optimum(self) -> Tensor:
        """The minimiser of the mean of all f_i, ``[d]``."""
        eye = torch.eye(len(self.start), dtype=self.start.dtype)
        springs = self.stiffness.mean(0).diag() + (2 * eye - eye.roll(1, 1) - eye.roll(-1, 1)) / 4
        found: Tensor = torch.linalg.solve(springs, (self.stiffness * self.rest).mean(0))
        return found

    def loss(self, ids: Tensor, x: Tensor) -> Tensor:
        """f_i(x), ``[C]``."""
        pulled = self.stiffness[ids] * (x - self.rest[ids]).square() / 2
        return (pulled + (x - x.roll(-1, 1)).square() / 8).sum(1)


class Still:
    """Clients that have nothing to learn: every gradient is zero, wherever they are."""

    shapes = SHAPES
    prunable = PRUNABLE

    def __init__(self, clients: int = 8) -> None:
        self.clients = clients
        self.start = self.optimum = torch.from_numpy(1 + np.arange(_SIZE, dtype=np.float64) / 7)

    def gradient(self, ids: Tensor, x: Tensor, draw: rng.Streams) -> Tensor:  # noqa: ARG002 - a problem's method
        """Zeros ``[C, d]``."""
        return torch.zeros_like(x)

    def loss(self, ids: Tensor, x: Tensor) -> Tensor:  # noqa: ARG002 - a problem's method
        """Zeros ``[C]``."""
        return torch.zeros_like(x[:, 0])
