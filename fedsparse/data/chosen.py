"""Some of the training examples: those that are used, as if the data set had no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fedsparse.data.dataset import Dataset
from fedsparse.data.split import dense_ids
from fedsparse.errors import ConfigError
from fedsparse.rng import stream

__all__ = ["chosen"]


def chosen(dataset: Dataset, examples: str | None, seed: int) -> Dataset:
    """The data set with a part of its training examples, which keep their order; the test part stays as it is.

    Args:
        dataset: the whole data set.
        examples: ``FROM:TO``, places in an order that is drawn; a number counts from 0; ``None``: all. So runs with
            one seed may have parts that share nothing.
        seed: the run's seed, which keys the order.

    Raises:
        ConfigError: there are not as many, or none is left.
    """
    if examples is None:
        return dataset
    first, _, last = examples.rpartition(":")
    start, stop = int(first or 0), int(last)
    if not start < stop <= len(dataset.x):
        raise ConfigError(
            f"examples={examples}: must be a part of 0:{len(dataset.x)}, the training examples of {dataset.name}, "
            "and not empty"
        )
    order = stream(seed, f"examples:{dataset.name}").permutation(len(dataset.x))
    kept = np.sort(order[start:stop])
    groups = None if dataset.groups is None else dense_ids(dataset.groups[kept])
    return replace(dataset, x=dataset.x[kept], y=dataset.y[kept], groups=groups)
