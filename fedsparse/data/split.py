"""Cutting examples into exact numbers: shares of a whole, a test part that never moves, a validation part."""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

from fedsparse.errors import ConfigError
from fedsparse.rng import stream

__all__ = ["apportion", "cut_off", "dense_ids", "stratified"]

SPLIT_SEED = 0
"""Test parts are keyed by this and the set's name, never by a run's seed: all runs test on the same."""


def apportion(total: int, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers in proportion to ``weights`` that add up to ``total`` exactly.

    The running sum of the shares is rounded, so no share is off by one or more.

    Args:
        total: what is divided, >= 0.
        weights: ``[n]``, >= 0, with a positive sum.

    Returns:
        ``[n]`` int64.
    """
    running = np.cumsum(weights, dtype=np.float64)
    edges = np.rint(running * (total / running[-1])).astype(np.int64)
    edges[-1] = total
    shares: NDArray[np.int64] = np.diff(np.minimum(edges, total), prepend=0)
    return shares


def stratified(
    strata: NDArray[np.int64], fraction: float, name: str, seed: int = SPLIT_SEED
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut examples into a training and another part that hold the same share of every stratum.

    Args:
        strata: ``[N]``, what is kept in proportion: the label, or the natural client.
        fraction: the other part's share, in (0, 1); its size is rounded up.
        name: the key of the draw, the set's name.
        seed: the seed of the draw; that of test parts unless given.

    Returns:
        Ascending indices of the training and of the other examples.

    Raises:
        ConfigError: the fraction leaves a part without examples.
    """
    n = len(strata)
    size = ceil(n * fraction)
    if not 0 < size < n:
        raise ConfigError(
            f"a fraction of {fraction} takes {size} of {n} examples from the training part; both parts need some"
        )
    return cut_off(strata, size, name, seed)


def cut_off(
    strata: NDArray[np.int64], size: int, name: str, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """:func:`stratified` for a number of examples, ``size``, between 0 and N."""
    n = len(strata)
    order = stream(seed, f"split:{name}").permutation(n)
    order = order[np.argsort(strata[order], kind="stable")]
    counts = np.unique(strata, return_counts=True)[1]
    share = apportion(size, counts.astype(np.float64))
    rank = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    taken = rank < np.repeat(share, counts)
    return np.sort(order[~taken]), np.sort(order[taken])


def dense_ids(names: NDArray[np.generic]) -> NDArray[np.int64]:
    """Any labels as ids 0..G-1, in the sorted order of the labels."""
    ids: NDArray[np.int64] = np.unique(names, return_inverse=True)[1].astype(np.int64).reshape(names.shape)
    return ids
