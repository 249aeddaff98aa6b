"""What training a model costs a device: arithmetic and memory, by formulas, as if zeros were really left out.

Counted are the multiplications and additions of linear layers, convolutions and low-rank adapters, two for each weight
and position, and a backward pass as two forward ones. Not counted: biases, norms, activations, recurrent layers, the
positions of the weights, and frozen weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedsparse.masks.numbers import sizes
from fedsparse.message import Scalars
from fedsparse.protocol import Field, Layout, Task, Trained

__all__ = ["Cost", "dense_cost", "device_bytes", "forward_flops"]


def forward_flops(layout: Layout, mask: Tensor | None, layers: Sequence[Field] | None = None) -> Tensor:
    """Floating-point operations of a forward pass of one example, ``[C]`` float64.

    Args:
        layout: of the model; where it does not know a layer's positions there is one.
        mask: ``[C, d]``; ``None``: all weights are there, C = 1.
        layers: only these, of a mask; by default all that could be pruned, and adapters.
    """
    if mask is None:
        return torch.tensor([2 * layout.multiplications], dtype=torch.float64)
    counted = [field for field in layout if field.prunable or field.positions] if layers is None else layers
    found = torch.zeros(len(mask), dtype=torch.float64)
    for field in counted:
        found += 2 * max(1, field.positions) * sizes(mask[:, field.slice])
    return found


def device_bytes(
    layout: Layout, mask: Tensor | None, batch: Tensor, *, itemsize: int, velocity: bool
) -> Tensor:
    """Memory of training, ``[C]`` float64: weights, their gradient, their velocity, and the activations of a minibatch.

    Args:
        layout: of the model.
        mask: ``[C, d]``; ``None``: all weights are there.
        batch: examples of a minibatch, ``[C]``.
        itemsize: bytes of a number.
        velocity: whether there is momentum.
    """
    there = torch.tensor([layout.size]) if mask is None else sizes(mask)
    weights = there.to(torch.float64) * (3 if velocity else 2)
    return itemsize * (weights + layout.activations * batch)


@dataclass(frozen=True)
class Cost:
    """Of a round, for each device.

    Attributes:
        flops: floating-point operations ``[C]`` float64.
        bytes: most memory at a time ``[C]`` float64.
    """

    flops: Tensor
    bytes: Tensor

    @staticmethod
    def of(
        task: Task, mask: Tensor | None, steps: Tensor, momentum: float = 0.0, probed: Tensor | int = 0
    ) -> Cost:
        """Of local training, after it.

        Args:
            task: what was trained.
            mask: on which weights, ``[C, d]`` or ``[1, d]``; ``None``: on all.
            steps: how many, ``[C, 1]``, in the dtype of the parameters.
            momentum: whether there was any.
            probed: examples of gradients that were not steps, ``[C]``.
        """
        examples = (task.examples - probed).to(torch.float64)
        batch = (examples / steps[:, 0].clamp(min=1)).ceil()
        itemsize = steps.element_size()
        flops = 3 * examples * forward_flops(task.layout, mask)
        memory = device_bytes(task.layout, mask, batch, itemsize=itemsize, velocity=momentum > 0)
        return Cost(flops, memory)

    def with_gradient(
        self, layout: Layout, mask: Tensor, layers: Sequence[Field], examples: Tensor, kept: Tensor | int
    ) -> Cost:
        """And of one more gradient, all of whose entries in some layers are computed, also where there is no weight.

        Forward and the gradient of activations are sparse; the weights' gradient is not, and wanted in ``layers`` only.

        Args:
            layout: of the model.
            mask: ``[C, d]`` or ``[1, d]``.
            layers: whose gradient is wanted.
            examples: that it is taken of, ``[C]``.
            kept: bytes that are kept of it, ``[C]`` or for each.
        """
        dense = torch.ones(1, layout.size, dtype=torch.bool)
        each = 2 * forward_flops(layout, mask) + forward_flops(layout, dense, layers)
        return replace(self, flops=self.flops + examples * each, bytes=self.bytes + kept)

    def message(self) -> dict[str, Scalars]:
        """Numbers that a round records: ``flops`` and ``device_bytes``, means over the devices."""
        return {
            "@flops": Scalars(self.flops[:, None]),
            "@device_bytes": Scalars(self.bytes[:, None]),
        }


def dense_cost(task: Task, trained: Trained, momentum: float = 0.0) -> dict[str, Scalars]:
    """What a round records of the training of a whole model; nothing where the model's operations are not known.

    Args:
        task: what was trained, once.
        trained: what became of it.
        momentum: whether there was any.
    """
    return Cost.of(task, None, trained.steps, momentum).message() if task.layout.counted else {}
