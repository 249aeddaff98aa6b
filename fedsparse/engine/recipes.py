"""Recipes: how each worker makes the workload of a run, from arrays that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from fedsparse.cohort.analytic import AnalyticWorkload
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.supervised import SupervisedWorkload
from fedsparse.cohort.trainer import Trainer
from fedsparse.data.holdings import Partition
from fedsparse.data.problem import Problem
from fedsparse.engine.block import Workload
from fedsparse.engine.sparse import SparseWorkload

__all__ = ["AnalyticRecipe", "Recipe", "SparseRecipe", "SupervisedRecipe", "for_driver", "supervised"]

_DATA = ("x", "y", "x_test", "y_test", "x_validation", "y_validation")
_HELD = "held."
"""What the names of a partition's arrays begin with."""

_TESTED = "tested."
"""Likewise of the examples that clients are tested on by themselves."""


Recipe = Callable[[Mapping[str, np.ndarray]], Workload]
"""Makes a workload from the arrays that all workers share."""


@dataclass(frozen=True)
class AnalyticRecipe:
    """Makes the workload of a problem on a worker."""

    problem: Problem

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> Workload:
        """The workload; the problem travels with the recipe."""
        del arrays
        return AnalyticWorkload(self.problem)


@dataclass(frozen=True)
class SupervisedRecipe:
    """Makes the workload of a data set on a worker, from arrays that all workers share."""

    module: nn.Module
    batch: int
    held: Callable[..., Partition]
    own_test: Callable[..., Partition] | None = None
    scale: float = 1.0
    shift: float = 0.0
    device: str = "cpu"
    own_models: bool = False

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> Workload:
        """The workload; ``arrays`` are those that :func:`supervised` gave with the recipe."""
        data = {name: arrays[name] for name in _DATA if name in arrays}
        tested = None if self.own_test is None else self.own_test(**_under(_TESTED, arrays))
        held = self.held(**_under(_HELD, arrays))
        examples = Examples(**data, held=held, scale=self.scale, shift=self.shift, own_test=tested)
        return SupervisedWorkload(examples, self.module, self.batch, self.device, self.own_models)


def supervised(
    examples: Examples, model: nn.Module, batch: int, device: str = "cpu", own_models: bool = False
) -> tuple[SupervisedRecipe, dict[str, np.ndarray]]:
    """The recipe that trains ``model`` on ``examples`` on a device, and the arrays that all workers share.

    Arguments as of :class:`~fedsparse.cohort.supervised.SupervisedWorkload`.
    """
    held, own = examples.held.parts()
    arrays = {name: getattr(examples, name) for name in _DATA if getattr(examples, name) is not None}
    arrays |= {_HELD + name: value for name, value in own.items()}
    tested, tests = (None, {}) if examples.own_test is None else examples.own_test.parts()
    arrays |= {_TESTED + name: value for name, value in tests.items()}
    scaled = examples.scale, examples.shift
    return SupervisedRecipe(model, batch, held, tested, *scaled, device, own_models), arrays


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class SparseRecipe:
    """Makes the workload of clients that train by a sparse trainer."""

    dense: Recipe
    trainer: Trainer
    seed: int
    rounds: int

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> Workload:
        """The workload; ``arrays`` are those of the dense one."""
        return SparseWorkload(self.dense(arrays), self.trainer, self.seed, self.rounds)


def for_driver(recipe: Recipe) -> Recipe:
    """The recipe of the driver's own copy of a workload: it trains nobody, and needs no accelerator."""
    if isinstance(recipe, SparseRecipe):
        return replace(recipe, dense=for_driver(recipe.dense))
    return replace(recipe, device="cpu") if isinstance(recipe, SupervisedRecipe) else recipe
