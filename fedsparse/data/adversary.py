"""Problems over examples with an adversary: weights that minimise, and a perturbation of all inputs that maximises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from fedsparse.data.dataset import Dataset
from fedsparse.data.holdings import Partition
from fedsparse.data.problem import relative
from fedsparse.lazy import cached_property
from fedsparse.rng import Streams
from fedsparse.theory import ProblemClass

__all__ = ["Adversary"]


class Adversary(ABC):
    """min over weights, max over a perturbation that all clients share, of the mean over the clients of a mean loss.

    A :class:`~fedsparse.data.problem.Problem`: ``gradient`` is the operator, the gradient in the weights and minus the
    gradient in the perturbation. Clients count alike, whatever their numbers of examples; who has none has operator 0.

    Args:
        dataset: examples with a class each.
        held: who holds which.
        batch: examples of a minibatch, drawn anew for each step; 0 for all of the client's.
        dtype: of inputs and of the whole run.
    """

    problem_class: ClassVar[ProblemClass] = "operators"

    start: Tensor
    shapes: Mapping[str, tuple[int, ...]]

    def __init__(self, dataset: Dataset, held: Partition, batch: int, dtype: torch.dtype) -> None:
        self.clients, self.batch = held.clients, batch
        self._scaling, self._dtype = (dataset.scale, dataset.shift), dtype
        self._own = [
            self._taken(dataset.x, dataset.y, held.examples(client)) for client in range(held.clients)
        ]
        self._test = self._taken(dataset.x_test, dataset.y_test, np.arange(len(dataset.y_test)))

    def _taken(self, x: np.ndarray, y: np.ndarray, at: np.ndarray) -> tuple[Tensor, Tensor]:
        scale, shift = self._scaling
        inputs = torch.from_numpy(x[at]).to(self._dtype).mul_(scale).add_(shift)
        return inputs, torch.from_numpy(y[at])

    @abstractmethod
    def operator_of(self, z: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """The operator at ``z [d]`` over some examples, at least one, ``[d]``."""

    @abstractmethod
    def loss_of(self, z: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss over some examples under the perturbation, without penalties, ``[]``."""

    def gradient(self, ids: Tensor, z: Tensor, draw: Streams) -> Tensor:
        """The operators of minibatches, ``[C, d]``."""
        if not self.batch:
            return self.full_gradient(ids, z)
        out = torch.zeros_like(z)
        for row, (client, generator) in enumerate(zip(ids.tolist(), draw.generators, strict=True)):
            inputs, targets = self._own[client]
            if len(targets):
                chosen = torch.from_numpy(
                    generator.choice(len(targets), min(self.batch, len(targets)), replace=False)
                )
                out[row] = self.operator_of(z[row], inputs[chosen], targets[chosen])
        return out

    def full_gradient(self, ids: Tensor, z: Tensor) -> Tensor:
        """The operators over all examples, ``[C, d]``."""
        # One client after the other: the bits of a product depend on its shape.
        out = torch.zeros_like(z)
        for row, client in enumerate(ids.tolist()):
            inputs, targets = self._own[client]
            if len(targets):
                out[row] = self.operator_of(z[row], inputs, targets)
        return out

    def loss(self, ids: Tensor, z: Tensor) -> Tensor:
        """Mean loss over all of a client's examples under the perturbation, ``[C]``; 0 where it has none."""
        out = z.new_zeros(len(z))
        for row, client in enumerate(ids.tolist()):
            inputs, targets = self._own[client]
            if len(targets):
                out[row] = self.loss_of(z[row], inputs, targets)
        return out

    def operator(self, z: Tensor) -> Tensor:
        """The mean of all clients' operators at ``z [d]``, ``[d]``."""
        ids = torch.arange(self.clients)
        return self.full_gradient(ids, z.expand(self.clients, -1)).mean(0)

    @cached_property
    def _first(self) -> Tensor:
        return self.operator(self.start)

    def evaluate(self, z: Tensor) -> Mapping[str, float]:
        """``operator_norm`` of the mean operator, 1 at the start, and the mean ``loss`` of all clients."""
        ids = torch.arange(self.clients)
        losses = self.loss(ids, z.expand(self.clients, -1))
        return {"operator_norm": relative(self.operator(z), self._first), "loss": float(losses.mean())}
