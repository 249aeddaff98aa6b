"""Results of workers in other processes of this machine: their large arrays go by shelf, the rest as a message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from fedsparse.engine.shelves import Array, Parcel, Reader, Shelves

__all__ = ["Letter", "Letters", "post"]

LARGE = 1 << 16
"""Bytes from which on an array goes by shelf."""


@dataclass(frozen=True)
class Letter:
    """A result without its large arrays, and where those are."""

    value: Any
    parcel: Parcel


def post(result: Any, shelves: Shelves) -> Any:
    """What a worker sends: a :class:`Letter`, or the result where it has no large array or there is no room."""
    arrays: list[Array] = []
    value = _take_out(result, arrays)
    parcel = shelves.put(arrays) if arrays else None
    return result if parcel is None else Letter(value, parcel)


class Letters:
    """The driver's side of one worker's letters."""

    def __init__(self) -> None:
        self._reader, self._done = Reader(alone=True), list[int]()

    def open(self, sent: Any) -> Any:
        """What was posted; its arrays are read-only, and stay where they are as long as somebody holds them."""
        if not isinstance(sent, Letter):
            return sent
        return _put_back(sent.value, self._reader.open(sent.parcel, self._done.append))

    def done(self) -> list[int]:
        """Shelves that the worker can use again; each is told once."""
        return [self._done.pop() for _ in range(len(self._done))]

    def close(self) -> None:
        """Lets go of the shelves; arrays that are still held stay valid."""
        self._reader.close()


@dataclass(frozen=True)
class _Gap:
    """Stands for an array that was taken out."""

    number: int


def _take_out(value: Any, arrays: list[Array]) -> Any:
    """The value without its large arrays, which are added to ``arrays``; looks into containers and dataclasses."""
    if isinstance(value, np.ndarray):
        if value.nbytes < LARGE or value.dtype.hasobject:
            return value
        arrays.append(value)
        return _Gap(len(arrays) - 1)
    return _inside(value, lambda part: _take_out(part, arrays))


def _put_back(value: Any, arrays: Sequence[Array]) -> Any:
    """Undoes :func:`_take_out`."""
    if isinstance(value, _Gap):
        return arrays[value.number]
    return _inside(value, lambda part: _put_back(part, arrays))


def _inside(value: Any, change: Callable[[Any], Any]) -> Any:
    if type(value) is dict:
        return {key: change(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(change(part) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
        changed = {name: change(part) for name, part in parts.items()}
        different = {name: part for name, part in changed.items() if part is not parts[name]}
        return replace(value, **different) if different else value
    return value
