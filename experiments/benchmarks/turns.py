"""Two runs whose rounds take turns in one process, so that a machine that slows down slows both.

Time is that of the processor: what else the machine does counts only by the caches and the memory that it takes.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import thread_time

from torch import nn

from fedsparse import rng
from fedsparse.aggregate import Mean
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.trainer import Trainer
from fedsparse.compress import Identity
from fedsparse.engine.faults import Faults
from fedsparse.engine.local import LocalPool
from fedsparse.engine.plan import Plan
from fedsparse.engine.recipes import Recipe, SparseRecipe, for_driver, supervised
from fedsparse.engine.sampling import Full
from fedsparse.engine.session import Place, Session, default_block
from fedsparse.network import Deadline, Network
from fedsparse.protocol import Strategy

__all__ = ["against", "session"]

SEED = 0


@contextmanager
def session(
    strategy: Strategy,
    held: Examples,
    model: nn.Module,
    rounds: int,
    *,
    batch: int,
    trainer: Trainer | None = None,
) -> Iterator[Session]:
    """A run with all clients in every round, on one thread, of which nothing is evaluated."""
    recipe: Recipe
    recipe, arrays = supervised(held, model, batch)
    if trainer is not None:
        recipe = SparseRecipe(recipe, trainer, SEED, rounds)
    workload = for_driver(recipe)(arrays)
    plan = Plan(
        strategy=strategy,
        seed=SEED,
        rounds=rounds,
        cohort=held.clients,
        block=default_block(held.clients, workload.client_bytes),
        sampler=Full(),
        aggregator=Mean(),
        downlink=Identity(),
        network=Network(profile="none"),
        deadline=Deadline(),
        faults=Faults(),
        encode=False,
        evaluate=lambda _: False,
        run=rng.seed64(SEED, "run"),
    )
    pool = LocalPool(1)
    try:
        place = Place(None, Path(tempfile.gettempdir()))
        with Session(plan, recipe, arrays, pool, place, lambda _: None, workload) as made:
            yield made
    finally:
        pool.close()


def against(own: Session, other: Session, rounds: range) -> tuple[float, float]:
    """Median of the processor's seconds for a round of ``own``, and that of the ratios to the rounds of ``other``."""
    both = [(_seconds(own, number), _seconds(other, number)) for number in rounds]
    ratio = statistics.median(mine / theirs for mine, theirs in both)
    return statistics.median(mine for mine, _ in both), ratio


def _seconds(run: Session, number: int) -> float:
    began = thread_time()
    run.engine.round(number)
    return thread_time() - began
