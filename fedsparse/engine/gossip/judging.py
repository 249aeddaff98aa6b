"""How good the clients' models are: one by one, their mean, and how far they are apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from fedsparse.engine.block import BUFFERS
from fedsparse.engine.slots import SlotStore
from fedsparse.protocol import Context, Start, Strategy
from fedsparse.records import lower_is_better

__all__ = ["Model", "average", "judged", "models_in"]

Model: TypeAlias = tuple[Tensor, Tensor]
"""A client's parameters ``[d]`` and BatchNorm statistics ``[b]``."""

_AT_ONCE = 16
"""Clients whose rows are read at a time."""


def average(models: Iterable[Model], start: Start) -> tuple[Tensor, Tensor]:
    """The mean of the clients' models and of their BatchNorm statistics, summed in the order in which they come."""
    x, buffers, count = None, torch.zeros_like(start.buffers), 0
    for own, statistics in models:
        x = own.clone() if x is None else x.add_(own)
        buffers += statistics
        count += 1
    if x is None:
        return start.x, start.buffers
    return x / count, buffers / count if len(buffers) else start.buffers


def judged(
    own: Sequence[Mapping[str, float]],
    of_average: Mapping[str, float],
    models: Iterable[Model],
    mean: Tensor,
) -> dict[str, float]:
    """All metrics of a round.

    Args:
        own: metrics of the clients' own models.
        of_average: those of the mean of all models.
        models: of all clients.
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
    squares = [float((x - mean).square().sum(dtype=torch.float64)) for x, _ in models]
    found["consensus"] = math.sqrt(_mean(squares))
    return found


def models_in(strategy: Strategy, states: SlotStore, ctx: Context, start: Start) -> Iterator[Model]:
    """The model of each client in ascending order, out of its state."""
    nothing = torch.zeros_like(start.buffers)
    for first in range(0, ctx.population, _AT_ONCE):
        ids = np.arange(first, min(first + _AT_ONCE, ctx.population), dtype=np.int64)
        rows = {name: torch.from_numpy(value) for name, value in states.rows(ids).items()}
        for k in range(len(ids)):
            state = {name: value[k] for name, value in rows.items()}
            yield strategy.model(state, ctx), state.get(BUFFERS, nothing)


def _mean(values: Sequence[float]) -> float:
    try:
        return math.fsum(values) / len(values)
    except (OverflowError, ValueError):
        return math.nan
