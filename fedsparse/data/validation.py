"""The validation part: examples that are held back from training, to choose hyper-parameters on."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.dataset import Dataset
from fedsparse.data.split import cut_off
from fedsparse.errors import ConfigError
from fedsparse.rng import stream

__all__ = ["VALIDATION", "held_back"]

VALIDATION = "validation_"
"""What the names of metrics of the validation part begin with."""


def held_back(dataset: Dataset, share: float, seed: int) -> Dataset:
    """The data set with a share of its training examples held back, before clients get theirs.

    The test part stays as it is. Every class gives its share; every natural client keeps an example, so that there
    are as many clients as before. Another seed holds back other examples.

    Args:
        dataset: the whole data set.
        share: of the training examples, in [0, 1), rounded up; 0 gives the data set itself.
        seed: the run's seed, which keys the draw.

    Raises:
        ConfigError: the share leaves a part without examples.
    """
    if not share:
        return dataset
    name, strata = f"{dataset.name}:validation", _strata(dataset)
    free = _free(dataset, name, seed)
    # The share is of all training examples, also of those that must stay. What rounding adds to a whole number is none.
    wanted = ceil(share * len(dataset.x) - 1e-9)
    if wanted == len(dataset.x):
        raise ConfigError(
            f"validation={share}: takes {wanted} of {wanted} examples from the training part; both parts need some"
        )
    if wanted > len(free):
        raise ConfigError(
            f"validation={share}: would hold back {wanted} of {len(dataset.x)} examples, and {len(free)} can be; each "
            "natural client keeps one; lower it"
        )
    _, at = cut_off(strata[free], wanted, name, seed)
    taken = free[at]
    kept = np.delete(np.arange(len(dataset.x)), taken)
    return replace(
        dataset,
        x=dataset.x[kept],
        y=dataset.y[kept],
        groups=None if dataset.groups is None else dataset.groups[kept],
        x_validation=dataset.x[taken],
        y_validation=dataset.y[taken],
    )


def _strata(dataset: Dataset) -> NDArray[np.int64]:
    """What is held back in proportion: classes; where an example has no class of its own, natural clients."""
    if dataset.y.ndim == 1 and not dataset.regression:
        return dataset.y.astype(np.int64, copy=False)
    return np.zeros(len(dataset.x), np.int64) if dataset.groups is None else dataset.groups


def _free(dataset: Dataset, name: str, seed: int) -> NDArray[np.int64]:
    """Examples that may be held back, ascending: all but one, drawn, of each natural client."""
    order = stream(seed, f"kept:{name}").permutation(len(dataset.x))
    if dataset.groups is None:
        return np.sort(order)
    first = np.unique(dataset.groups[order], return_index=True)[1]
    return np.sort(np.delete(order, first))
