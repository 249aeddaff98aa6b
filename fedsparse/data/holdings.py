"""What a partition is: each client's examples, either stored, or drawn by a rule when they are asked for."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedsparse.lazy import cached_property

__all__ = ["Partition", "Positions", "Stored", "compact"]

Positions: TypeAlias = NDArray[np.int32] | NDArray[np.int64]
"""Positions of examples in the training part."""

_Ids = NDArray[np.int64]


class Partition(ABC):
    """Who holds which training examples; a dataclass whose fields are arrays and plain values.

    Workers share its arrays as mapped files, so a field that is as long as the number of clients or of examples
    must be a NumPy array (see :meth:`parts`).
    """

    clients: int
    """The number of clients."""
    total: int
    """Examples of all clients together; one that two clients hold counts twice."""

    @abstractmethod
    def sizes(self, ids: _Ids | None = None) -> _Ids:
        """The number of examples of each of the clients ``ids [C]``, or of all: ``[C]`` int64."""

    @abstractmethod
    def examples(self, client: int) -> _Ids:
        """The examples of one client, ascending, int64: positions in the training part."""

    @cached_property
    def largest(self) -> int:
        """Examples of the client that has the most."""
        return int(self.sizes().max(initial=0))

    def parts(self) -> tuple[Callable[..., Self], dict[str, NDArray[Any]]]:
        """Its arrays by name, and the function that makes it again from them: what is shared, and what is sent."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        return partial(type(self), **{n: v for n, v in values.items() if n not in arrays}), arrays

    def summary(self, y: NDArray[np.generic], classes: int) -> dict[str, float]:
        """Who holds what, in numbers: see :func:`fedsparse.data.overview.summary`."""
        from fedsparse.data.overview import summary

        return summary(self, y, classes)

    def table(self, y: NDArray[np.generic], classes: int) -> str:
        """:meth:`summary` as lines of text."""
        numbers = self.summary(y, classes)
        width = max(map(len, numbers))
        return "\n".join(f"{name:<{width}}  {value:>12,.6g}" for name, value in numbers.items())

    def plot(self, path: str | os.PathLike[str], y: NDArray[np.generic], classes: int) -> None:
        """Draw who holds what: see :func:`fedsparse.data.overview.plot`."""
        from fedsparse.data.overview import plot

        plot(self, path, y, classes)


@dataclass(frozen=True, eq=False)
class Stored(Partition):
    """The examples of every client, in compressed rows.

    Attributes:
        indices: ``[n]`` int32 or int64, examples of the training part; those of client i, ascending, are
            ``indices[offsets[i]:offsets[i + 1]]``.
        offsets: ``[clients + 1]`` int64.
        left_out: training examples that no client holds.
    """

    indices: Positions
    offsets: _Ids
    left_out: int = 0

    @property
    def clients(self) -> int:  # type: ignore[override]
        """The number of clients."""
        return len(self.offsets) - 1

    @property
    def total(self) -> int:  # type: ignore[override]
        """Examples of all clients together."""
        return int(self.offsets[-1])

    def sizes(self, ids: _Ids | None = None) -> _Ids:
        """See :meth:`Partition.sizes`."""
        if ids is None:
            every: _Ids = np.diff(self.offsets)
            return every
        own: _Ids = self.offsets[ids + 1] - self.offsets[ids]
        return own

    def examples(self, client: int) -> _Ids:
        """See :meth:`Partition.examples`."""
        return self.indices[self.offsets[client] : self.offsets[client + 1]].astype(np.int64)


def compact(positions: _Ids, population: int) -> Positions:
    """``positions`` below ``population``, in half the bytes where that is small enough: all workers map them."""
    return positions.astype(np.int32) if population <= 2**31 else positions
