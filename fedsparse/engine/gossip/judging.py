"""How good the clients' models are: one by one, their mean, and how far they are apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from fedsparse.engine.block import BUFFERS
from fedsparse.engine.slots import SlotStore
from fedsparse.protocol import Context, Start, State, Strategy
from fedsparse.records import lower_is_better

__all__ = ["average", "judged"]

_AT_ONCE = 16
"""Clients whose rows are read at a time."""


def average(strategy: Strategy, states: SlotStore, ctx: Context, start: Start) -> tuple[Tensor, Tensor]:
    """The mean of the clients' models and of their BatchNorm statistics, summed in ascending order of the clients."""
    x, buffers = None, torch.zeros_like(start.buffers)
    for state in _each(states, ctx.population):
        own = strategy.model(state, ctx)
        x = own.clone() if x is None else x.add_(own)
        if BUFFERS in state:
            buffers += state[BUFFERS]
    if x is None:
        return start.x, start.buffers
    return x / ctx.population, buffers / ctx.population if len(buffers) else start.buffers


def judged(
    own: Sequence[Mapping[str, float]],
    of_average: Mapping[str, float],
    strategy: Strategy,
    states: SlotStore,
    ctx: Context,
    mean: Tensor,
) -> dict[str, float]:
    """All metrics of a round.

    Args:
        own: metrics of the clients' own models.
        of_average: those of the mean of all models.
        strategy: says which part of a state is the model.
        states: of all clients.
        ctx: the circumstances.
        mean: the mean of all models ``[d]``.

    Returns:
        for each metric ``m`` its mean over the clients ``m``, its spread ``m_std``, the worst client's ``m_worst``,
        that of the mean model ``m_of_average``; and ``consensus``, the root of the mean squared distance from the
        mean.
    """
    found: dict[str, float] = {}
    for name in own[0]:
        values = [metrics[name] for metrics in own]
        worst = max if lower_is_better(name) else min
        found[name] = _mean(values)
        found[f"{name}_std"] = math.sqrt(
            _mean([(value - found[name]) * (value - found[name]) for value in values])
        )
        found[f"{name}_worst"] = worst(values) if all(map(math.isfinite, values)) else math.nan
        found[f"{name}_of_average"] = of_average[name]
    squares = [
        float((strategy.model(state, ctx) - mean).square().sum(dtype=torch.float64))
        for state in _each(states, ctx.population)
    ]
    found["consensus"] = math.sqrt(_mean(squares))
    return found


def _each(states: SlotStore, clients: int) -> Iterator[State]:
    """The state of each client in ascending order, without the axis of clients."""
    for first in range(0, clients, _AT_ONCE):
        ids = np.arange(first, min(first + _AT_ONCE, clients), dtype=np.int64)
        rows = {name: torch.from_numpy(value) for name, value in states.rows(ids).items()}
        for k in range(len(ids)):
            yield {name: value[k] for name, value in rows.items()}


def _mean(values: Sequence[float]) -> float:
    try:
        return math.fsum(values) / len(values)
    except (OverflowError, ValueError):
        return math.nan
