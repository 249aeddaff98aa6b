"""A linear layer's weights during local training, as what they were and a few changes of low rank.

A minibatch gradient of a linear layer is D^T H: the gradients D of its outputs and its inputs H, a row each for every
example. After some steps of local training the weights of a client are therefore a sum of few terms,

    W_t = a_t W_0 + s_t S - sum_j b_tj D_j^T H_j,

with coefficients that follow from the rule alone (momentum, decay, pull and shift included). While examples are few
the sum is never carried out: ``h W_t^T`` is ``a_t h W_0^T``, one product for all clients, and small corrections
``(b_tj (h H_j^T)) D_j``. What the strategy asks for in the end, change or mean gradient, is one product a client.
In long runs the changes are folded into the weights every few steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from fedsparse.cohort import products
from fedsparse.cohort.carried import Carried
from fedsparse.cohort.device import on
from fedsparse.cohort.factors import Factors
from fedsparse.cohort.gradients import Gradients
from fedsparse.cohort.rule import Rule, Table
from fedsparse.cohort.weights import Term, Weights, accumulate, nothing, own, take_off

__all__ = ["LowRank", "window"]


def window(outputs: int, inputs: int, rows: int) -> int:
    """Steps after which the changes of a layer are best folded into its weights; below 2: at once.

    Args:
        outputs: m of the weights ``[m, n]``.
        inputs: n.
        rows: of a step; examples, times positions in sequences.
    """
    # Folding reads and writes m n weights; not folding costs two small products with all rows so far, every step.
    limit = max(_FEW, (_BALANCE * outputs * inputs / (outputs + inputs)) ** 0.5)
    return int(limit / max(rows, 1))


_BALANCE = 120.0
"""Multiplications in the time of one weight's way from memory and back, by measurement."""

_FEW = 100
"""Rows up to which a small layer, too, is better off: its products with each client's weights are all calls."""

_ALL = slice(None)


class LowRank:
    """One linear layer of C clients, through one local training.

    Args:
        rule: of the steps.
        start: weights at the start.
        shifts: factors, and what is added to every gradient.
        apart: likewise; for what every client has its own of, and is never added to the weights before a product.
        steps: how many each client takes, ``[C]``.
        longest: most steps that any client of the population takes.
        window: steps between foldings, at least 1.
        own_weights: whether clients have weights of their own, even where these are alike: then small products, whose
            bits need not be those with shared weights, are one call.
    """

    def __init__(
        self,
        rule: Rule,
        start: Weights,
        shifts: Sequence[Term],
        apart: Sequence[Term],
        steps: Tensor,
        longest: int,
        window: int,
        own_weights: bool = False,
    ) -> None:
        self._rule, self._start, self._steps, self._longest = rule, start, steps, longest
        self._own_weights = own_weights
        self.window = max(1, min(window, longest))
        # By the population, not by this block: what is folded is rounded differently.
        self._folds = longest > self.window
        self._table: Table = rule.table(self.window)
        self._carried = Carried(self._table, start, shifts, apart)
        self._begun = 0  # steps before this window
        self._past = self._new_factors()
        self._gradients = Gradients(start, len(steps))  # of the windows before
        self._total: Weights | None = None  # of all gradients, once it was asked for and had to be summed up
        self._open: Tensor | None = None  # inputs of a step whose backward pass has not come
        # Of known inputs: times the weights, where these stay the same through the window, and times each of `apart`.
        self._ahead: Tensor | None = None
        self._apart_ahead: list[Tensor] = []

    def feed(self, inputs: Tensor, steps: int) -> None:
        """The inputs ``[C, rows, n]`` of the next window's steps, where they are known before."""
        self._begin()
        rows, size = inputs.shape[1] // steps, inputs.shape[2]
        self._past.feed(inputs, rows)
        self._ahead, self._apart_ahead = None, []
        # One product instead of one a step: only where it does not matter how many steps this block takes.
        if not products.by_row(inputs):
            return
        large = products.large(rows, size, self._start.weight.shape[1])
        if (large or not self._own_weights) and self._carried.steady(self.window):
            self._ahead = self._shared(inputs)
        if large:
            self._apart_ahead = [own(inputs[:, rows:], w, biased=True) for _, w in self._carried.apart]

    # ---- a step

    def __call__(self, h: Tensor) -> Tensor:
        """Outputs ``[C, B, m]`` for ``h [C, B, n]``; differentiable, once a step."""
        # It is the anchor that makes the outputs of a first layer differentiable.
        anchor = torch.zeros((), requires_grad=True)
        found: Tensor = _Through.apply(h, anchor, self)  # type: ignore[no-untyped-call]
        return found

    def forward(self, h: Tensor) -> Tensor:
        """Outputs at the weights of this step."""
        self._begin()
        self._open, step = h.detach(), self._past.steps
        at = slice(step * h.shape[1], (step + 1) * h.shape[1])
        z = self._shared(h) if self._ahead is None else self._ahead[:, at]
        for number, (factor, w) in enumerate(self._carried.at(step).apart):
            if step and self._apart_ahead:
                added = self._apart_ahead[number][:, at.start - h.shape[1] : at.start]
            else:
                added = own(h, w, biased=True)
            z = torch.add(z, added, alpha=factor)
        return self._past.forward(z, h, self._start.bias is not None) if step else z

    def backward(self, h: Tensor, d: Tensor, needed: bool) -> Tensor | None:
        """Gradient of the inputs, where needed; keeps what the gradient of the weights is made of."""
        found = None
        if needed:
            base, apart = self._carried.at(self._past.steps)
            found = self._times(d, Weights(base.weight.mT, None))
            for factor, w in apart:
                found.add_(own(d, Weights(w.weight.mT, None), biased=False), alpha=factor)
            if self._past.steps:
                found = self._past.backward(found, d)
        self._keep(h, d)
        return found

    def close_step(self) -> None:
        """The step is over, whether a gradient has come this way or not."""
        if self._open is not None:
            self._keep(self._open, self._open.new_zeros(*self._open.shape[:2], self._start.weight.shape[1]))

    def _keep(self, h: Tensor, d: Tensor) -> None:
        self._open = None
        self._past.add(h, d)

    def _shared(self, h: Tensor) -> Tensor:
        """``h`` times the sum that is carried out, of this step."""
        return self._times(h, self._carried.at(self._past.steps).base)

    def _times(self, h: Tensor, w: Weights) -> Tensor:
        return own(h, w, biased=True) if self._own_weights else products.apply(h, w.weight, w.bias)

    # ---- a window

    def _new_factors(self) -> Factors:
        return Factors(self._table, self.window, min(self.window, self._longest - self._begun))

    def _begin(self) -> None:
        """At the end of a window, carries its sum out and begins a new one."""
        if self._past.steps < self.window:
            return
        point, velocity = self._start.empty(len(self._steps)), None
        self._result(self._table.point, False, point.weight, point.bias)
        if self._rule.momentum:
            velocity = self._start.empty(len(self._steps))
            self._result(self._table.velocity, False, velocity.weight, velocity.bias)
        self._gradients.add(*self._past.filled())
        self._carried.begin(point, velocity)
        self._begun += self._past.steps
        self._past = self._new_factors()

    # ---- what it adds up to

    def _result(self, table: Tensor, less_start: bool, weight: Tensor, bias: Tensor | None) -> None:
        """Writes the points or velocities of all clients, or what they are apart from the start."""
        taken = (self._steps - self._begun).clamp(0, self._past.steps)
        alike = bool((taken == taken[0]).all())
        rows = table[taken[:1]] if alike else table[taken]  # [1 or C, 4 + window]
        # In double precision until they are used, as numbers are.
        factors: list[Any] = rows[0, :4].tolist() if alike else list(rows[:, :4].unbind(1))
        terms = self._carried.terms(factors, less_start)
        if alike:
            terms = [term for term in terms if term[0]]
        at_once = terms.pop(0) if alike and terms else None
        self._past.product(rows[:, 4 : 4 + self._past.steps], weight, bias, at_once)
        for factor, w in terms:
            accumulate(weight, bias, factor, w)

    def write_x(self, weight: Tensor, bias: Tensor | None) -> None:
        """Writes the final weights to ``[C, m, n]`` and ``[C, m]``, in any strides."""
        if not self._past.steps:
            weight.copy_(self._start.weight)
            if bias is not None and self._start.bias is not None:
                bias.copy_(self._start.bias)
            return
        self._result(self._table.point, False, weight, bias)

    def write_change(self, weight: Tensor, bias: Tensor | None) -> None:
        """Writes final minus first weights."""
        if not self._past.steps:
            nothing(weight, bias)
            return
        self._result(self._table.point, not self._folds, weight, bias)
        if self._folds:
            accumulate(weight, bias, -1.0, self._start)

    def write_mean_grad(
        self,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        less: Weights | None = None,
        rows: slice = _ALL,
    ) -> None:
        """Writes the mean of all steps' gradients, less something; or that of the clients ``rows``."""
        if not self._past.steps:
            nothing(weight, bias)
            return take_off(weight, bias, less)
        share = 1 / self._steps[rows].clamp(min=1).to(torch.float64)
        if not self._folds:
            alike = bool((share == share[0]).all())
            factors = (share[:1] if alike else share)[:, None].expand(-1, self._past.steps)
            return self._past.product(factors, weight, bias, None if less is None else (-1.0, less), rows)
        if self._total is None:
            self._gradients.add(*self._past.filled())
            self._total = self._gradients.total()
        total = self._total
        share = on(total.weight.device, share.to(total.weight.dtype))
        if weight is not None:
            torch.mul(total.weight[rows], share[:, None, None], out=weight)
        if bias is not None and total.bias is not None:
            torch.mul(total.bias[rows], share[:, None], out=bias)
        return take_off(weight, bias, less)

    def mean_grad_in_parts(self, client: int, entries: int) -> Iterator[tuple[slice, Tensor]]:
        """That of one client's weights, some rows at a time, ``[1, rows, n]``."""
        rows = slice(client, client + 1)
        if self._past.steps and not self._folds:
            share = 1 / self._steps[rows].clamp(min=1).to(torch.float64)
            yield from self._past.product_in_parts(
                share[:, None].expand(-1, self._past.steps), client, entries
            )
        else:
            whole = self._start.empty(1).weight
            self.write_mean_grad(whole, rows=rows)
            yield slice(0, whole.shape[1]), whole


class _Through(torch.autograd.Function):
    """The layer in an autograd graph."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, anchor: Tensor, layer: LowRank) -> Tensor:
        del anchor
        ctx.layer = layer
        ctx.save_for_backward(h)
        return layer.forward(h)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> Any:
        (h,) = ctx.saved_tensors
        return ctx.layer.backward(h, d, ctx.needs_input_grad[0]), None, None
