"""A parameter tensor of all clients during local training, kept as it is, and its steps."""

from __future__ import annotations

import torch
from torch import Tensor

from fedsparse.cohort.device import on
from fedsparse.cohort.task import Descent
from fedsparse.protocol import Field

__all__ = ["Kept", "part"]


class Kept:
    """One parameter tensor of all clients, kept as it is: everything but linear layers of few examples."""

    def __init__(self, asked: Descent, field: Field) -> None:
        self._asked, self._field = asked, field
        first, clients = part(asked.x, field), len(asked.steps)
        self.start = first.expand(clients, *field.shape)
        self._moves = None if asked.moves is None else part(asked.moves, field)
        self._shifts = [(factor, part(value, field)) for factor, value in asked.shifts]
        # While all clients are at the same point it is one row in memory, and layers make use of that.
        kept = first if asked.mask is None else first * part(asked.mask, field)
        self.point = kept.expand(clients, *field.shape)
        self._velocity: Tensor | None = None
        self._sum: Tensor | None = None
        self._moved = False
        self.leaf = self.point

    def open_step(self) -> Tensor:
        """The point, ready for a gradient."""
        self.leaf = self.point.detach().requires_grad_()
        return self.leaf

    def close_step(self, running: Tensor | None) -> None:
        """Takes the step."""
        rule, gradient = self._asked.rule, self.leaf.grad
        if gradient is None:  # the output does not depend on it
            gradient = torch.zeros(self.point.shape, dtype=self.point.dtype, device=self.point.device)
        before, out = self._ends()
        if self._sum is None:
            self._sum = gradient  # a first step does not write to it
        else:
            # Summed up, not found from the change: that has lost the digits below those of the point.
            self._sum += gradient
        rule.move(before, gradient, self._velocity, running, self.start, self._shifts, self._moves, out)

    def _ends(self) -> tuple[Tensor, Tensor | None]:
        """Where a step begins, and where it ends if it is the first one: that must not write to what it begins at."""
        before = self.point
        if self._moved:
            return before, None
        self.point, self._moved = torch.empty_like(before, memory_format=torch.contiguous_format), True
        if self._asked.rule.momentum:
            self._velocity = torch.zeros_like(self.point)
        return before, self.point

    def write_x(self, into: Tensor) -> None:
        """The final point, to ``[C, *shape]``."""
        into.copy_(self.point)

    def write_change(self, into: Tensor) -> None:
        """Final minus first point."""
        torch.sub(self.point, self.start, out=into)

    def write_mean_grad(self, into: Tensor, less: Tensor | None = None, rows: slice = slice(None)) -> None:
        """Mean of the gradients, less something; that of the clients ``rows``."""
        if self._sum is None:
            into.zero_()
        else:
            taken = on(into.device, self._asked.steps[rows].clamp(min=1).to(into.dtype))
            torch.div(self._sum[rows], taken.view(-1, *[1] * (into.dim() - 1)), out=into)
        if less is not None:
            into.sub_(less)


def part(value: Tensor, field: Field) -> Tensor:
    """The entries of one tensor in ``value [C, d]``, ``[C, *shape]``."""
    return value[:, field.slice].view(len(value), *field.shape)
