"""Adversarial training of a small network against one bounded perturbation of all images."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from fedsparse.data.adversary import Adversary
from fedsparse.data.dataset import Dataset
from fedsparse.data.holdings import Partition
from fedsparse.protocol import Layout

__all__ = ["AdversarialTraining"]


class AdversarialTraining(Adversary):
    """min over the weights of a network, max over r with |r| < ``radius`` in each pixel, of the mean cross-entropy.

    r = radius tanh(speed rho) is bounded without a projection; ``speed`` scales its block of the operator. It is not
    monotone: what methods for saddle points do here is a heuristic.

    Args:
        dataset: images with a class each.
        held: who holds which.
        batch: examples of a minibatch; 0 for all.
        module: the network with its initial weights.
        radius: bound of the perturbation, in units of the network's inputs.
        speed: how fast rho moves beside the weights.
    """

    def __init__(
        self, dataset: Dataset, held: Partition, batch: int, module: nn.Module, radius: float, speed: float
    ) -> None:
        super().__init__(dataset, held, batch, torch.float32)
        self.module, self.radius, self.speed = module, radius, speed
        weights = {name: p.detach() for name, p in module.named_parameters()}
        self.shapes = {name: tuple(p.shape) for name, p in weights.items()} | {"r": dataset.example_shape}
        self._layout = Layout.of(self.shapes)
        flat = [p.flatten() for p in weights.values()]
        self.start = torch.cat([*flat, torch.zeros(self._layout["r"].size)])

    def perturbation(self, z: Tensor) -> Tensor:
        """What is added to each image, in its shape."""
        field = self._layout["r"]
        return self.radius * torch.tanh(self.speed * z[field.slice]).view(field.shape)

    def _outputs(self, z: Tensor, inputs: Tensor) -> Tensor:
        weights = {name: value for name, value in self._layout.split(z).items() if name != "r"}
        # While it is called the module holds these weights: each of several threads needs one of its own.
        out: Tensor = functional_call(copy.deepcopy(self.module), weights, (inputs,))
        return out

    def operator_of(self, z: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """See :meth:`Adversary.operator_of`."""
        leaf = z.detach().clone().requires_grad_()
        with torch.enable_grad():
            (found,) = torch.autograd.grad(self.loss_of(leaf, inputs, targets), leaf)
        found[self._layout["r"].slice].neg_()
        return found

    def loss_of(self, z: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """See :meth:`Adversary.loss_of`."""
        return cross_entropy(self._outputs(z, inputs + self.perturbation(z)), targets)

    def evaluate(self, z: Tensor) -> Mapping[str, float]:
        """Beside the others: ``accuracy`` on the test part, and ``robust_accuracy`` under the perturbation."""
        with torch.no_grad():
            inputs, targets = self._test
            moved = inputs + self.perturbation(z)
            right = {
                name: float((self._outputs(z, given).argmax(-1) == targets).double().mean())
                for name, given in (("accuracy", inputs), ("robust_accuracy", moved))
            }
            return {**right, **super().evaluate(z)}
