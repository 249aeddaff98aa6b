"""Local steps of a block of clients that go another way than their gradients say, tensor after tensor.

What takes time is the way of long vectors from memory and back. So what is done with a large tensor of a client is done
in one go, where possible some outputs at a time, while these are in cache: their gradient is made, turned into a
direction, summed up and taken, and the next point is found.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Protocol

import torch
from torch import Tensor

from fedsparse.cohort.task import Descent
from fedsparse.compress.select import is_largest
from fedsparse.protocol import Field, Layout, Trained

__all__ = ["Walk", "Way", "lighten", "points", "together"]

_TOGETHER = 1 << 20
"""Entries of clients that are handled together, if it is more than one client."""

_PART = 1 << 18
"""Entries of a part of a large tensor: few enough to stay in cache, and enough to be worth a dozen calls."""


class Way(Protocol):
    """Where gradients are taken, and where steps go instead; all else is as it is without."""

    @property
    def elsewhere(self) -> bool:
        """Whether gradients are taken at another point than where the clients are."""

    @property
    def by_output(self) -> bool:
        """Whether an output of a layer can be handled without the others."""

    def layers(self, layout: Layout) -> Collection[Field]:
        """The tensors that are not as without."""

    def point(self, y: Tensor, layer: Field, out: Tensor) -> None:
        """Writes where clients at ``y [R, n]`` take their gradient."""

    def redirect(self, gradient: Tensor, y: Tensor, point: Tensor, layer: Field, layout: Layout) -> None:
        """Writes over the gradients ``[R, n]`` at ``point`` what clients at ``y`` have instead."""

    def moving(self, layer: Field, layout: Layout) -> int | None:
        """How many entries of a layer a step moves: those that weigh most; ``None``: all."""

    def weigh(self, gradient: Tensor, y: Tensor, out: Tensor) -> None:
        """Writes what entries weigh, at least 0, for gradients ``[R, n]`` of clients at ``y [R, n]`` or ``[1, n]``."""


class Walk:
    """Where the clients of a block are, and how they came there.

    Args:
        asked: the local training.
        way: of its steps.
        layout: of the model.
        aim: from where all clients are, ``[C, d]``, to where they take their gradients.

    Attributes:
        y: where they are, ``[C, d]``. Up to the first step it may be one row for all, of which what is found is found
            once.
        point: where they take their next gradient, likewise.
    """

    def __init__(self, asked: Descent, way: Way, layout: Layout, aim: Callable[[Tensor], Tensor]) -> None:
        self._asked, self._way, self._layout = asked, way, layout
        self._layers = frozenset(way.layers(layout))
        self._shape = len(asked.steps), asked.x.shape[1]
        self.y = asked.x if asked.mask is None else asked.x * asked.mask
        self.point = aim(self.y)
        self._velocity = self.y.new_zeros(self._shape) if asked.rule.momentum else None
        self._total: Tensor | None = None

    def step(self, found: Trained, running: Tensor, last: bool) -> None:
        """Takes a step.

        Args:
            found: with the gradients at the point.
            running: who takes it, ``[C]`` bool.
            last: whether there is none after it.
        """
        if self._total is None:
            # A first step does not write to what it begins at.
            y, total = (self.y.new_empty(self._shape) for _ in range(2))
            point = torch.empty_like(y) if self._way.elsewhere else y
        else:
            y, total, point = self.y, self._total, self.point
        everybody = bool(running.all())
        for field in self._layout:
            for at, own in self._gradients(found, field):
                taking = None if everybody else running[at[0]]
                self._turn(own, taking, at, field)
                if self._total is None:
                    total[at] = own
                else:
                    total[at].add_(own)
                self._move(own, taking, at, y[at])
                if self._way.elsewhere and not last:
                    _aim(self._way, y[at], field if field in self._layers else None, point[at])
        self.y, self.point, self._total = y, point, total

    def _gradients(self, found: Trained, field: Field) -> Iterator[tuple[_At, Tensor]]:
        """Those of one tensor, of what moves in it: of several clients together, or of one in parts."""
        moving = self._way.moving(field, self._layout) if field in self._layers else None
        for parts in self._parts(found, field):
            yield from parts if moving is None else self._lightened(parts, field, moving)

    def _parts(self, found: Trained, field: Field) -> Iterator[_Parts]:
        """Those of one tensor, for some clients after the other."""
        clients = self._shape[0]
        if field.size > _PART and (self._way.by_output or field not in self._layers):
            for client in range(clients):
                yield self._of_client(found, field, client)
            return
        for rows in together(clients, field.size):
            own = self.y.new_empty(len(range(clients)[rows]), field.size)
            found.write_mean_grad(own, rows, field)
            yield iter([((rows, field.slice), own)])

    def _of_client(self, found: Trained, field: Field, client: int) -> _Parts:
        for part, own in found.mean_grad_in_parts(client, field, _PART):
            yield (slice(client, client + 1), slice(field.start + part.start, field.start + part.stop)), own

    def _lightened(self, parts: _Parts, field: Field, moving: int) -> _Parts:
        """The same without what does not move."""
        weights = torch.empty(0)
        kept: list[tuple[_At, Tensor]] = []
        for at, own in parts:
            if not kept:
                weights = own.new_empty(len(own), field.size)
            self._way.weigh(own, _of(self.y, at), weights[:, _within(at, field)])
            kept.append((at, own))
        # As bytes: what is bool is slow to multiply with.
        heavy = is_largest(weights, moving).view(torch.uint8)
        for at, own in kept:
            yield at, own.mul_(heavy[:, _within(at, field)])

    def _turn(self, own: Tensor, taking: Tensor | None, at: _At, field: Field) -> None:
        """Makes directions of gradients."""
        if field in self._layers:
            self._way.redirect(own, _of(self.y, at), _of(self.point, at), field, self._layout)
        if taking is not None:
            own[~taking] = 0

    def _move(self, own: Tensor, taking: Tensor | None, at: _At, out: Tensor) -> None:
        """Takes the step."""
        asked = self._asked
        asked.rule.move(
            _of(self.y, at),
            own,
            None if self._velocity is None else self._velocity[at],
            taking,
            _of(asked.x, at),
            [(factor, _of(value, at)) for factor, value in asked.shifts],
            None if asked.moves is None else _of(asked.moves, at),
            out if self._total is None else None,
        )

    def trained(self, losses: Tensor, buffers: Tensor) -> Trained:
        """The result, with the sums of the losses ``[C]`` and the last statistics ``[C, b]``."""
        steps, y = self._asked.steps, self.y.expand(self._shape)
        taken = steps.clamp(min=1)[:, None].to(y.dtype)
        total = torch.zeros_like(y) if self._total is None else self._total
        return Trained(
            steps[:, None].to(y.dtype),
            losses / taken[:, 0].to(losses.dtype),
            buffers,
            lambda: y,
            lambda: y - self._asked.x,
            lambda less: total / taken - (0 if less is None else less),
        )


_At = tuple[slice, slice]
"""Some clients, and some entries."""

_Parts = Iterator[tuple[_At, Tensor]]
"""Where they are, and gradients there, which together are a tensor of some clients."""


def points(way: Way, y: Tensor, layout: Layout) -> Tensor:
    """Where clients at ``y [C, d]`` take their gradients, ``[C, d]``; ``y`` itself, or a new tensor."""
    if not way.elsewhere:
        return y
    out, layers = torch.empty_like(y), frozenset(way.layers(layout))
    for field in layout:
        _aim(way, y[:, field.slice], field if field in layers else None, out[:, field.slice])
    return out


def lighten(way: Way, gradient: Tensor, y: Tensor, layer: Field, layout: Layout) -> None:
    """Leaves of the gradients ``[R, n]`` of a layer, of clients at ``y [R, n]`` or ``[1, n]``, what moves."""
    moving = way.moving(layer, layout)
    if moving is not None:
        weights = torch.empty_like(gradient)
        way.weigh(gradient, y, weights)
        # As bytes: what is bool is slow to multiply with.
        gradient.mul_(is_largest(weights, moving).view(torch.uint8))


def _aim(way: Way, y: Tensor, layer: Field | None, out: Tensor) -> None:
    """Writes where gradients are taken, of one tensor."""
    if layer is None:
        out.copy_(y)
    else:
        way.point(y, layer, out)


def _within(at: _At, field: Field) -> slice:
    """The entries by their places in a tensor."""
    return slice(at[1].start - field.start, at[1].stop - field.start)


def together(clients: int, size: int) -> Iterator[slice]:
    """Clients that are handled together where each has ``size`` entries."""
    step = max(1, _TOGETHER // size)
    for first in range(0, clients, step):
        yield slice(first, first + step)


def _of(x: Tensor, at: _At) -> Tensor:
    """What is there of ``x [C, d]``, or of the one row that there is for all."""
    return x[at] if len(x) > 1 else x[:, at[1]]
