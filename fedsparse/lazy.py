"""Attributes that are computed when first asked for, like ``functools.cached_property``, but without its lock.

Until Python 3.12 that lock is one for all objects of a class: threads that each compute an attribute of an object of
their own wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

__all__ = ["cached_property"]

T = TypeVar("T")


class cached_property(Generic[T]):  # noqa: N801 - named like that of the standard library
    """An attribute that ``func`` computes once for each object; where two threads ask at once, perhaps twice.

    Args:
        func: computes it from the object, which has a ``__dict__``.
    """

    def __init__(self, func: Callable[[Any], T]) -> None:
        self.func = func
        self.__doc__ = func.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> Self | T:
        if instance is None:
            return self
        # Kept under the same name in the object itself, where it is found before this descriptor.
        found: T = instance.__dict__.setdefault(self._name, self.func(instance))
        return found
