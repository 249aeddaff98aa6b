"""The gradients of a linear layer in a few steps, as the rows that they are products of.

A step's gradient is D^T H: the gradients D of the layer's outputs and its inputs H, a row each for every example. What
such gradients do to outputs, and to the gradients of inputs, takes small products of rows with rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.nn import functional

from fedsparse.cohort import products
from fedsparse.cohort.device import on
from fedsparse.cohort.rule import Table
from fedsparse.cohort.weights import Term, rows_of

__all__ = ["Factors"]

_ALL = slice(None)


class Factors:
    """Those of the steps of a window, of C clients.

    Args:
        table: of the rule: what the gradients count.
        window: steps that there is room for.
        most: steps that any client of the population takes in this window. Products have rows for so many, zeros where
            a client took fewer, so that a client's bits do not depend on whom else the block has.

    Attributes:
        steps: that are there.
    """

    def __init__(self, table: Table, window: int, most: int) -> None:
        self._table, self._window, self._most = table, window, most
        self.steps, self._rows = 0, 0
        self._h: Tensor | None = None
        self._d: Tensor | None = None
        self._given = False
        self._alike: Tensor | None = None

    def feed(self, inputs: Tensor, rows: int) -> None:
        """The inputs ``[C, steps * rows, n]`` of all steps, where they are known before."""
        self._h, self._given = inputs, True
        # One product instead of one a step: only where it does not matter how many steps this block takes.
        if products.by_row(inputs) and products.large(rows, inputs.shape[2], rows):
            self._alike = products.each(inputs[:, rows:], inputs[:, :-rows].mT)

    def add(self, h: Tensor, d: Tensor) -> None:
        """Those of one more step, with inputs ``h [C, B, n]`` and the gradients of outputs ``d [C, B, m]``."""
        self._rows = d.shape[1]
        self._d = self._with(self._d, d)
        if not self._given:
            self._h = self._with(self._h, h)
        self.steps += 1

    def forward(self, z: Tensor, h: Tensor, biased: bool) -> Tensor:
        """Outputs for ``h``, of which ``z`` is the part without these gradients."""
        like = self._like(h)
        return self._corrected(z, like + 1 if biased else like, self._past(self._d))

    def backward(self, z: Tensor, d: Tensor) -> Tensor:
        """Gradients of inputs for those of outputs ``d``, of which ``z`` is the part without these gradients."""
        return self._corrected(z, products.each(d, self._past(self._d).mT), self._past(self._h))

    def product(
        self,
        factors: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        plus: Term | None = None,
        rows: slice = _ALL,
    ) -> None:
        """Writes the sum over steps of factor times gradient, and a term more, of some clients.

        Factors are ``[1, steps]``, or have a row for each of these clients.
        """
        d = self._weighed(factors, rows)
        if bias is not None:
            bias.copy_(d.sum(1))
            if plus is not None and plus[1].bias is not None:
                bias.add_(rows_of(plus[1].bias, bias), alpha=plus[0])
        if weight is not None:
            term = None if plus is None else (plus[0], rows_of(plus[1].weight, weight).expand_as(weight))
            products.each(d.mT, self._filled(self._past(self._h)[rows]), out=weight, plus=term)

    def product_in_parts(self, factors: Tensor, client: int, entries: int) -> Iterator[tuple[slice, Tensor]]:
        """That sum for one client, some rows of the weights at a time, ``[1, rows, n]``; factors are ``[1, steps]``."""
        rows = slice(client, client + 1)
        d, h = self._weighed(factors, rows), self._filled(self._past(self._h)[rows])
        yield from products.in_parts(d.mT, h, entries)

    def filled(self) -> tuple[Tensor, Tensor]:
        """Inputs and gradients of outputs, with zeros for the steps that nobody here took."""
        return self._filled(self._past(self._h)), self._filled(self._past(self._d))

    def _like(self, h: Tensor) -> Tensor:
        """How the inputs of this step resemble those of earlier ones: ``h H^T``, ``[C, B, rows so far]``."""
        if self._alike is None:
            return products.each(h, self._past(self._h).mT)
        before = self.steps * self._rows
        return self._alike[:, before - self._rows : before, :before]

    def _with(self, kept: Tensor | None, rows: Tensor) -> Tensor:
        """What is kept of all steps, with the rows of this one."""
        if self._window == 1:
            return rows.detach()
        clients, count, size = rows.shape
        kept = rows.new_empty(clients, count * self._window, size) if kept is None else kept
        kept[:, self.steps * count : (self.steps + 1) * count] = rows
        return kept

    def _weighed(self, factors: Tensor, rows: slice) -> Tensor:
        """The gradients of outputs of some clients, times factors."""
        d = self._past(self._d)[rows]
        each = on(d.device, factors.to(d.dtype)).repeat_interleave(self._rows, dim=1)
        return self._filled(d * each[:, :, None])

    def _past(self, rows: Any) -> Tensor:
        past: Tensor = rows[:, : self.steps * self._rows]
        return past

    def _corrected(self, z: Tensor, like: Tensor, past: Tensor) -> Tensor:
        """``z + (b like) past``."""
        even = self._table.even
        if even is None:
            of_step = self._table.point[self.steps, 4 : 4 + self.steps]
            of_step = on(like.device, of_step.to(like.dtype))
            like = like * of_step.repeat_interleave(self._rows)
        return products.added(z, like, past, 1.0 if even is None else even)

    def _filled(self, rows: Tensor) -> Tensor:
        missing = self._most * self._rows - rows.shape[1]
        return functional.pad(rows, (0, 0, 0, missing)) if missing else rows
