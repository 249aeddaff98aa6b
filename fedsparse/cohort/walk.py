"""Local steps of a block of clients that go another way than their gradients say."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fedsparse.cohort.task import Descent
from fedsparse.protocol import Trained

__all__ = ["Walk", "of", "together"]

_TOGETHER = 1 << 20
"""Entries of clients that are handled together, if it is more than one: what one operation leaves is in cache then."""


class Walk:
    """Where the clients of a block are, and how they came there.

    Attributes:
        y: where they are, ``[C, d]``. Up to the first step it may be one row for all: what is found there is found once.
    """

    def __init__(self, asked: Descent) -> None:
        self._asked = asked
        self.y = asked.x if asked.mask is None else asked.x * asked.mask
        clients, size = len(asked.steps), asked.x.shape[1]
        self._velocity = self.y.new_zeros(clients, size) if asked.rule.momentum else None
        self._total: Tensor | None = None

    def step(self, gradient: Tensor, running: Tensor, redirect: Callable[[Tensor, slice], None]) -> None:
        """Takes a step.

        Args:
            gradient: ``[C, d]``; used up.
            running: who takes it, ``[C]`` bool.
            redirect: writes over the gradients of the clients at some places what they have instead.
        """
        asked, total, everybody = self._asked, self._total, bool(running.all())
        out = torch.empty_like(gradient) if total is None else None
        for rows in together(gradient):
            own = gradient[rows]
            redirect(own, rows)
            if not everybody:
                own[~running[rows]] = 0
            if total is not None:
                total[rows] += own
            asked.rule.move(
                of(self.y, rows),
                own,
                None if self._velocity is None else self._velocity[rows],
                None if everybody else running[rows],
                of(asked.x, rows),
                [(factor, of(value, rows)) for factor, value in asked.shifts],
                None if asked.moves is None else of(asked.moves, rows),
                None if out is None else out[rows],
            )
        if out is not None:  # a first step writes neither to where it begins nor to its gradient
            self.y, self._total = out, gradient

    def trained(self, losses: Tensor, buffers: Tensor) -> Trained:
        """The result, with the sums of the losses ``[C]`` and the last statistics ``[C, b]``."""
        steps, y = self._asked.steps, self.y.expand(len(self._asked.steps), -1)
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


def together(x: Tensor) -> Iterator[slice]:
    """Rows of ``x [C, d]`` that are handled together."""
    step = max(1, _TOGETHER // x.shape[1])
    for first in range(0, len(x), step):
        yield slice(first, first + step)


def of(x: Tensor, rows: slice) -> Tensor:
    """These rows of ``x [C, d]``, or the one that there is for all."""
    return x if len(x) == 1 else x[rows]
