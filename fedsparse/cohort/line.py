"""Models that are linear layers and ReLUs one behind the other: forward and backward by hand.

With small layers most of the time of a local step is not arithmetic but the making of a graph. Here there is none;
the operations, and so the bits, are those of the graph.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedsparse.cohort.loss import slopes_of
from fedsparse.cohort.program import Program, Ref, Step

__all__ = ["Line", "is_relu"]


class ByHand(Protocol):
    """A linear layer that goes forward and backward when told."""

    def forward(self, h: Tensor) -> Tensor:
        """Outputs ``[C, B, m]`` for ``h [C, B, n]``."""

    def backward(self, h: Tensor, d: Tensor, needed: bool) -> Tensor | None:
        """The gradient of ``h`` from that of the outputs, where it is needed; the layer keeps what it needs."""


@dataclass(frozen=True)
class Line:
    """A model of that kind.

    Attributes:
        links: name of the linear layer, or ``None`` for a ReLU, in order.
    """

    links: tuple[str | None, ...]

    @classmethod
    def of(cls, program: Program, linear: Collection[str]) -> Self | None:
        """The program as a line; ``None`` where it is none.

        Args:
            program: of the model.
            linear: names of its trainable linear layers that are used once, with a row for each example.
        """
        links: list[str | None] = []
        for number, step in enumerate(program.steps):
            # What is done in place is done beside it here.
            if step.inputs[:1] != (Ref(number),) or step.options.keys() - {"inplace"}:
                return None
            if step.name in linear:
                links.append(step.name)
            elif is_relu(step) and links and len(step.inputs) == 1:
                links.append(None)
            elif not _flattens(step) or links:
                return None
        return cls(tuple(links)) if links and links[0] is not None else None

    def slopes(self, inputs: Tensor, targets: Tensor, share: Tensor, layers: Mapping[str, ByHand]) -> Tensor:
        """One forward and backward pass through all layers; the clients' losses ``[C]``.

        Args:
            inputs: ``[C, B, ...]``.
            targets: ``[C, B]`` classes, or real ones.
            share: of each target in its client's loss.
            layers: the linear layers, by name.
        """
        h, before = inputs.flatten(2), []
        for link in self.links:
            before.append(h)
            h = functional.relu(h) if link is None else layers[link].forward(h)
        losses, d = slopes_of(h, targets, share)
        after = h
        for place in reversed(range(len(self.links))):
            link, h = self.links[place], before[place]
            if link is None:
                d = torch.ops.aten.threshold_backward(d, after, 0)
            else:
                found = layers[link].backward(h, d, place > 0)
                d = d if found is None else found
            after = h
        return losses


def is_relu(step: Step) -> bool:
    """Whether the step is a ReLU, as a layer or as a function."""
    return type(step.module) is nn.ReLU or step.function in (functional.relu, torch.relu, "relu")


def _flattens(step: Step) -> bool:
    if isinstance(step.module, nn.Flatten):
        return step.module.start_dim == 1 and step.module.end_dim == -1
    if step.function in ("flatten", torch.flatten):
        return step.inputs[1:] == (1,)
    return isinstance(step.module, nn.Identity)
