"""What the two robust linear models have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fedsparse.data.checks import within
from fedsparse.data.dataset import Dataset
from fedsparse.data.problem import Divisible, Problem
from fedsparse.data.sets import libsvm
from fedsparse.errors import ConfigError

if TYPE_CHECKING:
    from fedsparse.data.holdings import Partition

__all__ = ["divisible"]


def divisible(
    data_dir: Path | None, seed: int, on: str, loss: Literal["squares", "logistic"], l2: float, beta: float
) -> Divisible:
    """The problem on the examples of ``on``."""
    from fedsparse.data import load, names

    within("l2", l2, 0, open_low=True)
    within("beta", beta, 0, open_low=True)
    found = load(on, data_dir, seed) if on in names() or ":" in on else libsvm.load(data_dir, seed, file=on)
    if not isinstance(found, Dataset) or found.classes != 2 or len(found.example_shape) != 1:
        raise ConfigError(
            f"on={on}: must be a LIBSVM file, or a data set of two classes whose inputs have one axis, such as logistic"
        )

    def over(held: Partition, batch: int) -> Problem:
        from fedsparse.data.robust import RobustLinear

        return RobustLinear(found, held, batch, loss, l2, beta)

    return Divisible(found, over)
