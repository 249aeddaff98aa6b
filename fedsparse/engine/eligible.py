"""Who can take part in training: of all registered clients those that the sampler may draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from fedsparse.engine.block import Workload
    from fedsparse.engine.plan import Plan
    from fedsparse.engine.sampling import Sampler
    from fedsparse.engine.slab import Ids

__all__ = ["Eligible", "eligible_of", "sizes_for"]


@dataclass(frozen=True)
class Eligible:
    """The clients that can take part, in numbers.

    Attributes:
        population: how many they are.
        total: their examples.
        idle: registered clients that never take part and are evaluated only.
    """

    population: int
    total: int
    idle: int = 0


def eligible_of(plan: Plan, workload: Workload) -> Eligible:
    """Who can take part in a run; in gossip, which draws nobody, all of them."""
    clients, sampler = workload.clients, plan.sampler
    if plan.matrices is not None:
        return Eligible(clients, workload.total)
    sizes = sizes_for(sampler, workload)
    count = sampler.eligible(clients, sizes)
    if count == clients:
        return Eligible(clients, workload.total)
    able = torch.from_numpy(sampler.able(clients, sizes))
    return Eligible(count, int(workload.sizes(able).sum()), clients - count)


def sizes_for(sampler: Sampler, workload: Workload) -> Ids | None:
    """Examples of each registered client ``[N]``, where the sampler needs them."""
    if not sampler.needs_sizes:
        return None
    sizes: Ids = workload.sizes(torch.arange(workload.clients)).numpy()
    return sizes
