"""The sum of a linear layer's gradients over windows of steps."""

from __future__ import annotations

from torch import Tensor

from fedsparse.cohort import products
from fedsparse.cohort.weights import Weights

__all__ = ["Gradients"]


class Gradients:
    """What the gradients of C clients add up to; carried out where the sum is shorter than its factors.

    Args:
        like: weights of that layer.
        clients: C.
    """

    def __init__(self, like: Weights, clients: int) -> None:
        self._like, self._clients = like, clients
        self._factors: list[tuple[Tensor, Tensor]] = []
        self._sum: Weights | None = None

    def add(self, h: Tensor, d: Tensor) -> None:
        """Adds D^T H, with ``h [C, rows, n]`` and ``d [C, rows, m]``."""
        self._factors.append((h, d))
        rows = sum(h.numel() + d.numel() for h, d in self._factors)
        if rows > self._clients * self._like.weight[0].numel():
            self.total()

    def total(self) -> Weights:
        """The sum; it is not to be written to."""
        if self._sum is None:
            self._sum = self._like.zeros(self._clients)
        for h, d in self._factors:
            products.add_each(self._sum.weight, d.mT, h)
            if self._sum.bias is not None:
                self._sum.bias.add_(d.sum(1))
        self._factors = []
        return self._sum
