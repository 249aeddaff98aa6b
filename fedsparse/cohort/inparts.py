"""Linear layers on a mask, whose gradients are never all there at a time.

On a mask a step is no sum of few terms as in :mod:`fedsparse.cohort.lowrank`: what remains of a product on the mask has
full rank. So weights are kept as they are, and it is their way from memory and back that takes time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fedsparse.cohort import products
from fedsparse.cohort.kept import Kept
from fedsparse.cohort.task import Descent
from fedsparse.protocol import Field

__all__ = ["InParts", "Layer"]


class InParts(Kept):
    """Weights of a linear layer, ``[C, m, n]``, that are kept as they are, with their gradients D^T H only in parts.

    Some rows of that of a client are made when it takes its step, used while they are in cache, and forgotten; D and H
    stay. The sum over steps, which few strategies ask for, is made of these.
    """

    def __init__(self, asked: Descent, field: Field) -> None:
        super().__init__(asked, field)
        self._factors: list[tuple[Tensor, Tensor]] = []
        self._open: tuple[Tensor, Tensor] | None = None

    def open_step(self) -> Tensor:
        """The point; its gradient comes by :meth:`keep`."""
        return self.point

    def keep(self, d: Tensor, h: Tensor) -> None:
        """The gradient of this step is D^T H, with ``d [C, B, m]`` and ``h [C, B, n]``."""
        self._open = d.detach(), h.detach()

    def close_step(self, running: Tensor | None) -> None:
        """Takes the step, client after client."""
        if self._open is None:  # the output does not depend on it
            clients, m, n = self.point.shape
            self._open = self.point.new_zeros(clients, 1, m), self.point.new_zeros(clients, 1, n)
        (d, h), (before, out) = self._open, self._ends()

        for client in range(len(d)):
            at, taking = slice(client, client + 1), None if running is None else running[client : client + 1]
            for rows, gradient in products.in_parts(d[at].mT, h[at]):

                def own(value: Tensor, at: slice = at, rows: slice = rows) -> Tensor:
                    return value[slice(None) if len(value) == 1 else at, rows]

                self._asked.rule.move(
                    own(before),
                    gradient,
                    None if self._velocity is None else own(self._velocity),
                    taking,
                    own(self.start),
                    [(factor, own(value)) for factor, value in self._shifts],
                    None if self._moves is None else own(self._moves),
                    None if out is None else own(out),
                )
        self._factors.append(self._open)
        self._open = None
        if sum(rows.numel() for factors in self._factors for rows in factors) > self.point.numel():
            self._add_up()

    def _add_up(self) -> None:
        for d, h in self._factors:
            if self._sum is None:
                self._sum = products.each(d.mT, h)
            else:
                products.add_each(self._sum, d.mT, h)
        self._factors = []

    def write_mean_grad(self, into: Tensor, less: Tensor | None = None, rows: slice = slice(None)) -> None:
        """Mean of the gradients, less something; that of the clients ``rows``."""
        self._add_up()
        super().write_mean_grad(into, less, rows)


class Layer:
    """A linear layer with such weights."""

    def __init__(self, weight: InParts, bias: Kept | None) -> None:
        self.weight, self._bias = weight, bias

    def __call__(self, h: Tensor) -> Tensor:
        """Outputs ``[C, B, m]`` for ``h [C, B, n]``, differentiable in ``h`` and the bias."""
        # Without a bias it is the anchor that makes the outputs of a first layer differentiable.
        bias = torch.zeros((), requires_grad=True) if self._bias is None else self._bias.leaf
        found: Tensor = _Through.apply(h, bias, self)  # type: ignore[no-untyped-call]
        return found

    def outputs(self, h: Tensor, bias: Tensor) -> Tensor:
        """The same, not differentiable."""
        return products.apply(h, self.weight.point, None if self._bias is None else bias)

    def slopes(self, d: Tensor, bias: Tensor, inner: bool) -> tuple[Tensor | None, Tensor]:
        """Gradients of the inputs, where they are ``inner``, and of the bias for that of the outputs."""
        back = products.apply(d, self.weight.point.mT) if inner else None
        return back, torch.zeros_like(bias) if self._bias is None else d.sum(1)


class _Through(torch.autograd.Function):
    """The layer in an autograd graph."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, bias: Tensor, layer: Layer) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(h, bias)
        return layer.outputs(h, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> Any:
        h, bias = ctx.saved_tensors
        ctx.layer.weight.keep(d, h)
        return *ctx.layer.slopes(d, bias, ctx.needs_input_grad[0]), None
