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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fedsparse.cohort import products
from fedsparse.cohort.rule import Rule, Table

__all__ = ["LowRank", "Weights", "window"]


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


@dataclass(frozen=True)
class Weights:
    """Weights ``[C, m, n]`` and biases ``[C, m]``, or with one row for all clients; or what is added to them."""

    weight: Tensor
    bias: Tensor | None

    @property
    def alike(self) -> bool:
        """Whether there is one row for all clients."""
        return self.weight.shape[0] == 1


_Term = tuple[float, Weights]


class _Terms(NamedTuple):
    """A sum that is carried out, and terms that are not."""

    base: Weights
    apart: list[_Term]


class LowRank:
    """One linear layer of C clients, through one local training.

    Args:
        rule: of the steps.
        start: weights at the start.
        shifts: factors, and what is added to every gradient.
        apart: likewise; for what every client has its own of, and is never added to the weights before a product.
        steps: how many each client takes, ``[C]``.
        longest: most steps that any client of the population takes. Products have rows for so many, zeros where a
            client took fewer, so that a client's bits do not depend on whom else the block has.
        window: steps between foldings, at least 1.
    """

    def __init__(
        self,
        rule: Rule,
        start: Weights,
        shifts: Sequence[_Term],
        apart: Sequence[_Term],
        steps: Tensor,
        longest: int,
        window: int,
    ) -> None:
        self._rule, self._start, self._steps, self._longest = rule, start, steps, longest
        self._shifts, self._apart = shifts, apart
        self.window = max(1, min(window, longest))
        # By the population, not by this block: what is folded is rounded differently.
        self._folds = longest > self.window
        self._table: Table = rule.table(self.window)
        self._open: Tensor | None = None  # inputs of a step whose backward pass has not come
        self._point: Weights | None = (
            None  # where the window began, and with which velocity; at first the start
        )
        self._velocity: Weights | None = None
        self._begun, self._t, self._step_rows = 0, 0, 0
        self._h: Tensor | None = None
        self._d: Tensor | None = None
        self._given = False
        self._alike: Tensor | None = None
        # Of known inputs: times the weights, where these stay the same through the window, and times each of `apart`.
        self._ahead: Tensor | None = None
        self._apart_ahead: list[Tensor] = []
        self._terms = _Terms(start, [])
        self._factors: tuple[float, ...] = ()  # of these terms
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._sum: Weights | None = None
        self._total: Weights | None = None  # of the gradients, once it was asked for and had to be summed up

    def feed(self, inputs: Tensor, steps: int) -> None:
        """The inputs ``[C, rows, n]`` of the next window's steps, where they are known before."""
        self._begin()
        self._h, self._given, self._alike, self._ahead = inputs, True, None, None
        rows, size = inputs.shape[1] // steps, inputs.shape[2]
        self._apart_ahead = []
        # One product instead of one a step: only where it does not matter how many steps this block takes.
        if not products.by_row(inputs):
            return
        if self._steady:
            self._ahead = self._shared(inputs)
        if products.large(rows, size, self._start.weight.shape[1]):
            self._apart_ahead = [_own(inputs[:, rows:], w, biased=True) for _, w in self._apart]
        if products.large(rows, size, rows):
            self._alike = products.each(inputs[:, rows:], inputs[:, :-rows].mT)

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
        self._open = h.detach()
        at = slice(self._t * h.shape[1], (self._t + 1) * h.shape[1])
        z = self._shared(h) if self._ahead is None else self._ahead[:, at]
        for number, (factor, w) in enumerate(self._now().apart):
            if self._t and self._apart_ahead:
                own = self._apart_ahead[number][:, at.start - h.shape[1] : at.start]
            else:
                own = _own(h, w, biased=True)
            z = torch.add(z, own, alpha=factor)
        if not self._t:
            return z
        like = self._like(h)
        return self._corrected(z, like + 1 if self._start.bias is not None else like, self._past(self._d))

    def backward(self, h: Tensor, d: Tensor, needed: bool) -> Tensor | None:
        """Gradient of the inputs, where needed; keeps what the gradient of the weights is made of."""
        found = None
        if needed:
            base, apart = self._now()
            found = products.apply(d, base.weight.mT)
            for factor, w in apart:
                found.add_(_own(d, Weights(w.weight.mT, None), biased=False), alpha=factor)
            if self._t:
                like = products.each(d, self._past(self._d).mT)
                found = self._corrected(found, like, self._past(self._h))
        self._keep(h, d)
        return found

    def _shared(self, h: Tensor) -> Tensor:
        """``h`` times the sum that is carried out, of this step."""
        base = self._now().base
        return products.apply(h, base.weight, base.bias)

    def _like(self, h: Tensor) -> Tensor:
        """How the inputs of this step resemble those of earlier ones: ``h H^T``, ``[C, B, rows so far]``."""
        if self._alike is None:
            return products.each(h, self._past(self._h).mT)
        before = self._t * self._step_rows
        return self._alike[:, before - self._step_rows : before, :before]

    def _past(self, rows: Any) -> Tensor:
        past: Tensor = rows[:, : self._t * self._step_rows]
        return past

    def _corrected(self, z: Tensor, like: Tensor, past: Tensor) -> Tensor:
        """``z + (b like) past``."""
        even = self._table.even
        if even is None:
            of_step = self._table.point[self._t, 4 : 4 + self._t].to(like)
            like = like * of_step.repeat_interleave(self._step_rows)
        return products.added(z, like, past, 1.0 if even is None else even)

    def _keep(self, h: Tensor, d: Tensor) -> None:
        self._open = None
        self._step_rows = d.shape[1]
        self._d = self._with(self._d, d)
        if not self._given:
            self._h = self._with(self._h, h)
        self._t += 1

    def _with(self, kept: Tensor | None, rows: Tensor) -> Tensor:
        """What is kept of the window's steps, with the rows of this one."""
        if self.window == 1:
            return rows.detach()
        clients, count, size = rows.shape
        kept = rows.new_empty(clients, count * self.window, size) if kept is None else kept
        kept[:, self._t * count : (self._t + 1) * count] = rows
        return kept

    def _now(self) -> _Terms:
        """The weights of this step but for their low-rank changes."""
        factors = self._factors_at(self._t)
        if factors != self._factors:
            apart = [(factors[3] * factor, w) for factor, w in self._apart]
            self._terms = _Terms(_summed(self._carried(factors)), [term for term in apart if term[0]])
            self._factors = factors
        return self._terms

    def _factors_at(self, step: int) -> tuple[float, float, float, float]:
        """Of the point, velocity and centre before the window, and of the shift; zero for what there is not."""
        point, velocity, centre, shift = self._table.factors[step]
        moving, shifted = self._velocity is not None, bool(self._shifts or self._apart)
        return point, velocity if moving else 0.0, centre, shift if shifted else 0.0

    @property
    def _steady(self) -> bool:
        """Whether these terms are the same in every step of the window."""
        return len({self._factors_at(step) for step in range(self.window)}) == 1

    def _carried(self, factors: Sequence[Any]) -> list[tuple[Any, Weights]]:
        """What the weights are the sum of; factors are numbers, or ``[C]``."""
        point, velocity, centre, shift = factors
        if self._point is None:
            terms = [(point + centre, self._start)]
        else:
            terms = [(point, self._point), (centre, self._start)]
        if self._velocity is not None:
            terms.append((velocity, self._velocity))
        return [*terms, *((shift * factor, w) for factor, w in self._shifts)]

    def close_step(self) -> None:
        """The step is over, whether a gradient has come this way or not."""
        if self._open is not None:
            self._keep(self._open, self._open.new_zeros(*self._open.shape[:2], self._start.weight.shape[1]))

    # ---- what it adds up to

    def _taken(self) -> Tensor:
        """Steps of each client in this window so far, ``[C]``."""
        return (self._steps - self._begun).clamp(0, self._t)

    def _result(self, table: Tensor, less_start: bool, weight: Tensor, bias: Tensor | None) -> None:
        """Writes the points or velocities of all clients, or what they are apart from the start."""
        taken = self._taken()
        alike = bool((taken == taken[0]).all())
        rows = table[taken[:1]] if alike else table[taken]  # [1 or C, 4 + window]
        # In double precision until they are used, as numbers are.
        factors: list[Any] = rows[0, :4].tolist() if alike else list(rows[:, :4].unbind(1))
        first, *others = self._carried(factors)
        if less_start:
            first = (first[0] - 1, self._start)
        terms = [first, *others, *((factors[3] * sign, w) for sign, w in self._apart)]
        if alike:
            terms = [term for term in terms if term[0]]
        at_once = terms.pop(0) if alike and terms else None
        self._product(rows[:, 4 : 4 + self._t], weight, bias, at_once)
        for factor, w in terms:
            _accumulate(weight, bias, factor, w)

    def _product(
        self, factors: Tensor, weight: Tensor, bias: Tensor | None, plus: _Term | None = None
    ) -> None:
        """Writes the sum over steps of factor times gradient, and a term more; factors are ``[1 or C, t]``."""
        d = self._past(self._d)
        d = self._filled(d * factors.to(d).repeat_interleave(self._step_rows, dim=1)[:, :, None])
        if bias is not None:
            bias.copy_(d.sum(1))
            if plus is not None and plus[1].bias is not None:
                bias.add_(_rows(plus[1].bias, bias), alpha=plus[0])
        term = None if plus is None else (plus[0], _rows(plus[1].weight, weight).expand_as(weight))
        products.each(d.mT, self._filled(self._past(self._h)), out=weight, plus=term)

    def _filled(self, rows: Tensor) -> Tensor:
        """With zeros for the steps that nobody here took."""
        missing = min(self.window, self._longest - self._begun) * self._step_rows - rows.shape[1]
        return functional.pad(rows, (0, 0, 0, missing)) if missing else rows

    def _begin(self) -> None:
        """At the end of a window, carries its sum out and begins a new one."""
        if self._t < self.window:
            return
        point, velocity = self._empty(), self._velocity
        self._result(self._table.point, False, point.weight, point.bias)
        if self._rule.momentum:
            velocity = self._empty()
            self._result(self._table.velocity, False, velocity.weight, velocity.bias)
        self._keep_window()
        if sum(h.numel() + d.numel() for h, d in self._kept) > point.weight.numel():
            self._sum, self._kept = self._summed_gradients(), []
        self._point, self._velocity = point, velocity
        self._begun += self._t
        self._t, self._d, self._h, self._factors = 0, None, None, ()

    def _keep_window(self) -> None:
        self._kept.append((self._filled(self._past(self._h)), self._filled(self._past(self._d))))

    def _empty(self) -> Weights:
        like, clients = self._start, len(self._steps)
        bias = None if like.bias is None else like.bias.new_empty(clients, *like.bias.shape[1:])
        return Weights(like.weight.new_empty(clients, *like.weight.shape[1:]), bias)

    def _summed_gradients(self) -> Weights:
        total = self._sum or _zeros(self._empty())
        for h, d in self._kept:
            products.add_each(total.weight, d.mT, h)
            if total.bias is not None:
                total.bias.add_(d.sum(1))
        return total

    def write_x(self, weight: Tensor, bias: Tensor | None) -> None:
        """Writes the final weights to ``[C, m, n]`` and ``[C, m]``, in any strides."""
        if self._d is None:
            weight.copy_(self._start.weight)
            if bias is not None and self._start.bias is not None:
                bias.copy_(self._start.bias)
            return
        self._result(self._table.point, False, weight, bias)

    def write_change(self, weight: Tensor, bias: Tensor | None) -> None:
        """Writes final minus first weights."""
        if self._d is None:
            weight.zero_()
            if bias is not None:
                bias.zero_()
            return
        self._result(self._table.point, not self._folds, weight, bias)
        if self._folds:
            _accumulate(weight, bias, -1.0, self._start)

    def write_mean_grad(self, weight: Tensor, bias: Tensor | None, less: Weights | None = None) -> None:
        """Writes the mean of all steps' gradients, less something."""
        if self._d is None:
            self.write_change(weight, bias)
            return _take_off(weight, bias, less)
        share = 1 / self._steps.clamp(min=1).to(torch.float64)
        if not self._folds:
            alike = bool((share == share[0]).all())
            factors = (share[:1] if alike else share)[:, None].expand(-1, self._t)
            return self._product(factors, weight, bias, None if less is None else (-1.0, less))
        if self._total is None:
            self._keep_window()
            self._total = self._summed_gradients()
        total, share = self._total, share.to(weight)
        torch.mul(total.weight, share[:, None, None], out=weight)
        if bias is not None and total.bias is not None:
            torch.mul(total.bias, share[:, None], out=bias)
        return _take_off(weight, bias, less)


def _take_off(weight: Tensor, bias: Tensor | None, less: Weights | None) -> None:
    if less is not None:
        weight.sub_(less.weight)
        if bias is not None and less.bias is not None:
            bias.sub_(less.bias)


def _own(h: Tensor, w: Weights, biased: bool) -> Tensor:
    """``h [C, B, n]`` times each client's own weights."""
    bias = w.bias.expand(len(h), -1) if biased and w.bias is not None else None
    return products.each(h, w.weight.mT.expand(len(h), -1, -1), bias)


def _zeros(like: Weights) -> Weights:
    return Weights(like.weight.zero_(), None if like.bias is None else like.bias.zero_())


def _summed(terms: Sequence[_Term]) -> Weights:
    """The sum; entry by entry the same whether a term has one row or equal ones for all clients."""
    factor, first = terms[0]
    weight, bias = first.weight, first.bias
    if factor != 1:
        weight, bias = weight * factor, None if bias is None else bias * factor
    for factor, w in terms[1:]:
        if factor:
            weight = torch.add(weight, _rows(w.weight, weight), alpha=factor)
            bias = (
                None if bias is None or w.bias is None else torch.add(bias, _rows(w.bias, bias), alpha=factor)
            )
    return Weights(weight, bias)


def _rows(value: Tensor, like: Tensor) -> Tensor:
    """A row for each client, where there is one number for all: it would be rounded before it is added."""
    return value.expand(like.shape).contiguous() if value.numel() == 1 else value


def _accumulate(weight: Tensor, bias: Tensor | None, factor: float | Tensor, w: Weights) -> None:
    """Adds factor times ``w``; the factor is a number, or one for each client ``[C]``."""
    if isinstance(factor, Tensor):
        factor = factor.to(weight)
        weight.addcmul_(w.weight, factor[:, None, None])
        if bias is not None and w.bias is not None:
            bias.addcmul_(w.bias, factor[:, None])
    elif factor:
        weight.add_(_rows(w.weight, weight), alpha=factor)
        if bias is not None and w.bias is not None:
            bias.add_(_rows(w.bias, bias), alpha=factor)


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
