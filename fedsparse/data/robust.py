"""Linear models of two classes whose inputs an adversary moves, all in the same direction."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from fedsparse.data.adversary import Adversary
from fedsparse.data.dataset import Dataset
from fedsparse.data.holdings import Partition

__all__ = ["RobustLinear"]


class RobustLinear(Adversary):
    """min over w, max over r of mean loss(w'(a_j + r), y_j) + l2 ||w||^2 / 2 - beta ||r||^2 / 2, labels y_j = +1, -1.

    ``loss`` is (t - y)^2 / 2 (``"squares"``) or log(1 + exp(-y t)) (``"logistic"``); c is the bound of its second
    derivative, 1 or 1/4. Strongly monotone where c ||w||^2 < beta: there it is strongly concave in r.

    The variables are w and rho with r = s rho: s makes the curvature in rho, s^2 beta, that in w, which is c times the
    largest eigenvalue of the inputs' second moment, plus l2. So one step size suits both.

    Args:
        dataset: two classes, inputs of one axis.
        held: who holds which examples.
        batch: examples of a minibatch; 0 for all.
        loss: which of the two.
        l2: penalty of the weights.
        beta: penalty of the perturbation.
    """

    def __init__(
        self,
        dataset: Dataset,
        held: Partition,
        batch: int,
        loss: Literal["squares", "logistic"],
        l2: float,
        beta: float,
    ) -> None:
        super().__init__(dataset, held, batch, torch.float64)
        self.kind, self.l2, self.beta = loss, l2, beta
        size = dataset.example_shape[0]
        self.shapes, self.start = {"w": (size,), "r": (size,)}, torch.zeros(2 * size, dtype=torch.float64)
        bound = 1.0 if loss == "squares" else 0.25
        self.scale = math.sqrt((bound * self._moment() + l2) / beta)

    def _moment(self) -> float:
        """The largest eigenvalue of the mean of the clients' A'A / n."""
        own = [inputs.T @ inputs / len(inputs) for inputs, _ in self._own if len(inputs)]
        return float(torch.linalg.eigvalsh(torch.stack(own).sum(0) / self.clients)[-1])

    def operator_of(self, z: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """See :meth:`Adversary.operator_of`."""
        w, rho = z.chunk(2)
        r, y = self.scale * rho, 2.0 * targets - 1
        t = inputs @ w + w @ r
        slope = t - y if self.kind == "squares" else -y * torch.sigmoid(-y * t)
        mean = slope.mean()
        in_w = inputs.T @ slope / len(y) + mean * r + self.l2 * w
        return torch.cat([in_w, self.scale * (self.beta * r - mean * w)])

    def loss_of(self, z: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """See :meth:`Adversary.loss_of`."""
        w, rho = z.chunk(2)
        y = 2.0 * targets - 1
        t = inputs @ w + self.scale * (w @ rho)
        return ((t - y).square() / 2 if self.kind == "squares" else softplus(-y * t)).mean()
