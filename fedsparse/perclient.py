"""A number for each client, in one array: without a Python object for each of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["PerClient"]

_Ids = NDArray[np.int64]

_LEAST = 1 << 10


class PerClient:
    """A whole number of at least 0 for some of the clients.

    At most 16 bytes for each client up to the highest that has one. A page of the array takes memory only once a client
    of it has a number, so that a million registered clients cost nothing before they take part.
    """

    def __init__(self) -> None:
        # One more than the number, so that fresh memory, which is zero, means none.
        self._raised = np.zeros(0, dtype=np.int64)

    def get(self, ids: _Ids) -> _Ids:
        """The numbers of ``ids [C]``, -1 for those that have none."""
        inside = ids < len(self._raised)
        if inside.all():
            found: _Ids = self._raised[ids] - 1
            return found
        found = np.full(len(ids), -1, dtype=np.int64)
        found[inside] = self._raised[ids[inside]] - 1
        return found

    def set(self, ids: _Ids, numbers: _Ids | int) -> None:
        """Give ``ids [C]``, each at least 0 and there once, these numbers: ``[C]``, or one for all."""
        needed = int(ids.max(initial=-1)) + 1
        if needed > len(self._raised):
            grown = np.zeros(max(_LEAST, 1 << (needed - 1).bit_length()), dtype=np.int64)
            grown[: len(self._raised)] = self._raised
            self._raised = grown
        self._raised[ids] = np.asarray(numbers) + 1

    def unset(self, ids: _Ids) -> None:
        """Take their numbers from ``ids [C]``."""
        self._raised[ids[ids < len(self._raised)]] = 0

    def items(self) -> tuple[_Ids, _Ids]:
        """The clients that have a number, ascending ``[n]``, and their numbers ``[n]``."""
        ids = np.flatnonzero(self._raised)
        return ids, self._raised[ids] - 1
