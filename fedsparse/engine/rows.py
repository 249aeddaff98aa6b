"""Rows of client states: what one is, and what a place that holds many of them can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fedsparse.errors import ProtocolError

__all__ = ["ADVICE", "Array", "Ids", "Slab", "StateSpec", "span"]

Array: TypeAlias = npt.NDArray[Any]
Ids: TypeAlias = npt.NDArray[np.int64]

ADVICE = "Set engine.state_dir to a folder on a larger disk, or take fewer or smaller clients."
"""What to do where rows do not fit."""

_ITEM_SIZES = {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "b": (1,)}


@dataclass(frozen=True)
class StateSpec:
    """One named value of a client's state.

    Args:
        name: its key in the state.
        shape: shape of one client's row, without the client axis.
        dtype: NumPy's name of a float, integer or boolean type, e.g. ``"float32"``.

    Raises:
        ProtocolError: a type that a state cannot have.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        numbers = np.dtype(self.dtype)
        if numbers.itemsize not in _ITEM_SIZES.get(numbers.kind, ()) or not numbers.isnative:
            raise ProtocolError(
                f"client state {self.name!r} has dtype {self.dtype}; allowed are float16, float32, float64, "
                "integers and bool. Convert it in init."
            )

    @property
    def row_bytes(self) -> int:
        """Bytes of one client's row."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def check(self, rows: Array, count: int) -> None:
        """Refuse ``rows`` unless just ``[count, *shape]`` of this dtype: nothing is broadcast or converted.

        Raises:
            ProtocolError: says the state's name and the difference.
        """
        expected = (count, *self.shape)
        if rows.shape != expected or rows.dtype != np.dtype(self.dtype):
            raise ProtocolError(
                f"client state {self.name!r} came as {rows.dtype} {list(rows.shape)}, it was declared as "
                f"{self.dtype} {list(expected)}. Keep shape and dtype of a state as init made them."
            )


class Slab(ABC):
    """The rows of one state name in numbered slots.

    The driver prepares a slot (:meth:`resize`, :meth:`allocate`) before it hands it out. Where there is no room it says
    so then, or the writer does; nobody is killed for it. Safe for threads that use different slots.
    """

    spec: StateSpec

    @abstractmethod
    def resize(self, slots: int) -> None:
        """Have numbers for so many slots, without using space for them.

        Raises:
            OSError: as the operating system says.
        """

    @abstractmethod
    def allocate(self, start: int, count: int) -> None:
        """Prepare ``count`` rows from slot ``start`` to be written.

        Raises:
            OSError: there is none.
        """

    @abstractmethod
    def row(self, slot: int) -> Array:
        """The row in a slot: a view, to be read at once.

        Raises:
            IndexError: a slot that was never handed out.
        """

    @abstractmethod
    def take(self, slots: Ids, out: Array) -> None:
        """Copy the rows in ``slots [C]`` to ``out [C, ...]``, which was checked.

        Raises:
            IndexError: a slot that was never handed out.
        """

    @abstractmethod
    def put(self, slots: Ids, rows: Array) -> None:
        """Write ``rows [C, ...]``, which were checked, to ``slots [C]``.

        Raises:
            IndexError: a slot that was never handed out.
            ResourceError: there is no room.
        """

    def lend(self, slots: Ids) -> Array | None:  # noqa: ARG002
        """The rows in ``slots [C]`` themselves, where they lie together in this order: not to be written to."""
        return None

    def keep(self, slots: Ids, rows: Array, old: Ids) -> None:  # noqa: ARG002
        """As :meth:`put`, of rows that nobody writes to any more: they may stay where they are.

        Args:
            slots: ``[C]``.
            rows: ``[C, ...]``, with memory of their own.
            old: the slots that these clients had before, -1 for none.
        """
        self.put(slots, rows)

    def free(self, slots: Iterable[int]) -> None:  # noqa: B027
        """Nobody asks for the rows in these slots again."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what this object holds; twice does no harm."""


def span(slots: Ids) -> tuple[int, int]:
    """Lowest and highest slot; of no slots 0 and -1."""
    return (int(slots.min()), int(slots.max())) if len(slots) else (0, -1)
