"""Values as they are typed, and the types that options have."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Sequence
from typing import Any, Literal, Union, get_args, get_origin

__all__ = ["MismatchError", "convert", "in_words", "settable"]

_LISTS = (list, tuple, Sequence)


class MismatchError(ValueError):
    """A value is not of the type that was asked for."""


def convert(value: object, kind: Any) -> Any:
    """``value`` as the type ``kind``, without losing anything.

    Args:
        value: text, number, truth value, list or ``None``, as read from a command line or a file.
        kind: an annotation; see :func:`settable`.

    Raises:
        MismatchError: it is not of that type, or not finite.
    """
    if kind is Any:
        return value
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _one_of(value, get_args(kind))
    if origin is Literal:
        return _literal(value, get_args(kind))
    if origin in _LISTS or kind in _LISTS:
        return _list(value, kind)
    try:
        return _SCALARS[kind](value)
    except KeyError:
        raise MismatchError from None


def _one_of(value: object, kinds: tuple[Any, ...]) -> object:
    # Text comes last, because every number can be read as text.
    for kind in sorted(kinds, key=lambda k: k is str):
        try:
            return convert(value, kind)
        except MismatchError:
            continue
    raise MismatchError


def _literal(value: object, choices: tuple[Any, ...]) -> object:
    for choice in choices:
        if choice == value and type(choice) is type(value):
            return choice
    for choice in choices:
        if isinstance(choice, str) and choice == _text(value):
            return choice
    raise MismatchError


def _list(value: object, kind: Any) -> object:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise MismatchError
    args = [a for a in get_args(kind) if a is not Ellipsis] or [Any]
    if get_origin(kind) is tuple and Ellipsis not in get_args(kind) and get_args(kind):
        if len(args) != len(value):
            raise MismatchError
    else:
        args = args[:1] * len(value)
    made = [convert(v, a) for v, a in zip(value, args, strict=True)]
    return made if (get_origin(kind) or kind) is list else tuple(made)


def _whole(value: object) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise MismatchError
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MismatchError
    try:
        number = float(value)
    except OverflowError:
        raise MismatchError from None
    if not math.isfinite(number):
        raise MismatchError
    return number


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise MismatchError
    return value


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise MismatchError
    return str(value)


def _nothing(value: object) -> None:
    if value is not None:
        raise MismatchError


_SCALARS: dict[Any, Callable[[object], Any]] = {
    int: _whole, float: _number, bool: _truth, str: _text, type(None): _nothing, None: _nothing,
}  # fmt: skip

_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
    Any: "anything",
}


def settable(kind: Any) -> bool:
    """Whether values of this type can be written on a command line."""
    if get_origin(kind) is Literal:
        return True
    inner = [a for a in get_args(kind) if a is not Ellipsis]
    if get_origin(kind) in (Union, types.UnionType):
        return any(settable(k) for k in inner if k is not type(None))
    if get_origin(kind) in _LISTS or kind in _LISTS:
        return all(settable(k) for k in inner)
    return kind in _WORDS


def in_words(kind: Any, scalar: str | None = None) -> str:
    """What values of a type are, e.g. ``a whole number or null``.

    Args:
        kind: an annotation.
        scalar: said instead of the plain words for the part that is not null, e.g. with its range.
    """
    if get_origin(kind) in (Union, types.UnionType):
        optional = type(None) in get_args(kind)
        others = [k for k in get_args(kind) if settable(k) and k is not type(None)]
        named = [scalar] if scalar is not None else [in_words(k) for k in others]
        return " or ".join([*named, "null"] if optional else named)
    if scalar is not None:
        return scalar
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(str(c) for c in get_args(kind))
    if get_origin(kind) in _LISTS or kind in _LISTS:
        inner = [a for a in get_args(kind) if a is not Ellipsis]
        return f"a list [..] of {_plural(in_words(inner[0]))}" if inner else "a list [..]"
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))


def _plural(words: str) -> str:
    return words.removeprefix("a ") + "s" if words.startswith("a ") else words
