"""Logistic regression against a perturbation of all inputs, on a LIBSVM file: a saddle problem over examples."""

from __future__ import annotations

from pathlib import Path

from fedsparse.data.problem import Divisible
from fedsparse.data.sets import _robust
from fedsparse.data.sets.libsvm import FILES, verify

__all__ = ["FILES", "load", "verify"]


def load(
    data_dir: Path | None,
    seed: int,
    *,
    on: str = "a9a",
    l2: float = 0.01,
    beta: float = 10.0,
) -> Divisible:
    """Minimum over w, maximum over r of mean log(1 + exp(-y w'(a + r))) + l2 |w|^2 / 2 - beta |r|^2 / 2.

    Args:
        data_dir: the data folder.
        seed: the run's seed.
        on: a LIBSVM file, or the name of a data set with two classes, such as ``logistic``, which needs no files.
        l2: penalty of the weights, above 0.
        beta: penalty of the perturbation; strongly monotone where |w|^2 < 4 beta.
    """
    return _robust.divisible(data_dir, seed, on, "logistic", l2, beta)
