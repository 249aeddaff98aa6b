"""The rule of local steps: applied to tensors, and as coefficients of what the steps add up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from fedsparse.lazy import cached_property

__all__ = ["Rule", "Table"]


@dataclass(frozen=True)
class Rule:
    """``y <- y - lr v`` with ``v <- momentum v + (g + shift + weight_decay y + prox (y - x))``, ``v`` zero at first."""

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    prox: float = 0.0

    def move(
        self,
        y: Tensor,
        gradient: Tensor,
        velocity: Tensor | None,
        running: Tensor | None,
        centre: Tensor,
        shifts: Sequence[tuple[float, Tensor]] = (),
        moves: Tensor | None = None,
        out: Tensor | None = None,
    ) -> None:
        """One step of all clients.

        Args:
            y: where they are, ``[C, ...]``.
            gradient: there; used up, unless there is an ``out``.
            velocity: with momentum; else ``None``.
            running: who takes the step, ``[C]`` bool; ``None``: all.
            centre: where they started.
            shifts: factors and what is added to the gradient.
            moves: 0/1; entries outside stay as they are, and their velocity zero.
            out: where to write the next point, ``[C, ...]``; by default over ``y``.
        """
        if out is not None and (shifts or self.weight_decay or self.prox):
            gradient = gradient.clone()
        for factor, shift in shifts:
            gradient.add_(shift, alpha=factor)
        if self.weight_decay:
            gradient.add_(y, alpha=self.weight_decay)
        if self.prox:
            gradient.add_(y - centre, alpha=self.prox)
        if moves is not None:
            gradient = gradient.mul_(moves) if out is None else torch.mul(gradient, moves, out=out)
        if velocity is not None:
            gradient = velocity.mul_(self.momentum).add_(gradient)
        if running is not None:
            gradient = torch.where(running.view(-1, *[1] * (y.dim() - 1)), gradient, 0)
        torch.add(y, gradient, alpha=-self.lr, out=y if out is None else out)

    def table(self, steps: int) -> Table:
        """What up to ``steps`` steps add up to."""
        return _table(self, steps)


@dataclass(frozen=True)
class Table:
    """Points and velocities after t steps, as sums of what there was before them and of the gradients.

    Row t of ``point`` and ``velocity`` ``[steps + 1, 4 + steps]`` (float64) has the coefficients of: the point and the
    velocity before these steps, the centre of the pull, the shift, and the gradient of each step.
    """

    point: Tensor
    velocity: Tensor

    @cached_property
    def factors(self) -> list[tuple[float, float, float, float]]:
        """The first four coefficients of ``point``, for each t."""
        return [(p, v, c, s) for p, v, c, s in self.point[:, :4].tolist()]

    @cached_property
    def even(self) -> float | None:
        """The coefficient of every gradient so far, where it is the same for all and at any time (plain SGD)."""
        below = [self.point[t, 4 : 4 + t] for t in range(1, len(self.point))]
        values = torch.cat(below) if below else torch.zeros(1)
        return float(values[0]) if bool((values == values[0]).all()) else None


@lru_cache(maxsize=256)
def _table(rule: Rule, steps: int) -> Table:
    y = torch.zeros(4 + steps, dtype=torch.float64)
    v, x, s = y.clone(), y.clone(), y.clone()
    y[0], v[1], x[2], s[3] = 1, 1, 1, 1
    points, velocities = [y], [v]
    for t in range(steps):
        g = torch.zeros_like(y)
        g[4 + t] = 1
        v = rule.momentum * v + g + s + rule.weight_decay * y + rule.prox * (y - x)
        y = y - rule.lr * v
        points.append(y)
        velocities.append(v)
    return Table(torch.stack(points), torch.stack(velocities))
