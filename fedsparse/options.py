"""Fields of a configuration that carry their own documentation and range.

``lr: float = option(0.05, "local step size", above=0)`` is at once the default, the help text, the type and the check.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import MISSING, Field, field, fields
from typing import Any

from fedsparse.errors import ConfigError
from fedsparse.schedule import Schedule
from fedsparse.theory import FromTheory

__all__ = ["allowed", "help_of", "option", "validate"]

_BOUNDS = {"above": "above", "at_least": "at least", "below": "below", "at_most": "at most"}
"""What may bound a number, in words."""


def option(
    default: Any,
    help: str,  # noqa: A002
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    choices: Sequence[Any] | None = None,
) -> Any:
    """A dataclass field with a one-line help text and the values it may have.

    Bounds of a tuple are those of each of its numbers, of which there must be one at least.

    Args:
        default: the default; lists and dictionaries are copied for each object.
        help: what it is, with its unit and the paper's symbol.
        above: exclusive lower bound.
        at_least: inclusive lower bound.
        below: exclusive upper bound.
        at_most: inclusive upper bound.
        choices: the only values allowed.
    """
    metadata = {
        "help": help, "above": above, "at_least": at_least, "below": below, "at_most": at_most, "choices": choices,
    }  # fmt: skip
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def help_of(entry: Field[Any]) -> str:
    """The help text of a field; empty where it was made without :func:`option`."""
    return str(entry.metadata.get("help", ""))


def allowed(entry: Field[Any]) -> str:
    """The allowed values in words, e.g. ``a number above 0 and at most 1``; empty where everything is."""
    m = entry.metadata
    if m.get("choices") is not None:
        return "one of " + ", ".join(str(c) for c in m["choices"])
    bounds = [f"{word} {_plain(m[key])}" for key, word in _BOUNDS.items() if m.get(key) is not None]
    what = "a list of numbers, each" if isinstance(entry.default, tuple) else "a number"
    return f"{what} " + " and ".join(bounds) if bounds else ""


def _plain(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _fits(value: float, m: Any) -> bool:
    return (
        math.isfinite(value)
        and (m["above"] is None or value > m["above"])
        and (m["at_least"] is None or value >= m["at_least"])
        and (m["below"] is None or value < m["below"])
        and (m["at_most"] is None or value <= m["at_most"])
    )


def _wrong(entry: Field[Any], value: Any) -> bool:
    m = entry.metadata
    if value is None:
        return entry.default is not None and entry.default is not MISSING
    if m["choices"] is not None:
        return value not in m["choices"]
    if isinstance(entry.default, tuple) and any(m[k] is not None for k in _BOUNDS):
        return not isinstance(value, tuple | list) or not value or not all(_is_number(v, m) for v in value)
    if isinstance(value, FromTheory):
        return entry.name != "lr"
    if isinstance(value, Schedule):
        return not all(_fits(v, m) or v == m["above"] for v in value.extremes())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return any(m[k] is not None for k in _BOUNDS)
    return not _fits(value, m)


def _is_number(value: Any, m: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _fits(value, m)


def validate(thing: Any, prefix: str = "") -> None:
    """Checks every field made by :func:`option`; call it in ``__post_init__``.

    Args:
        thing: a dataclass object.
        prefix: put before the field's name in the message, e.g. ``"strategy."``.

    Raises:
        ConfigError: a value is not finite or out of range; names the key, the value and what is allowed.
    """
    for entry in fields(thing):
        if "help" not in entry.metadata:
            continue
        value = getattr(thing, entry.name)
        if _wrong(entry, value):
            must = allowed(entry) or "a finite number"
            raise ConfigError(f"{prefix}{entry.name}={value}: must be {must} ({help_of(entry)})")
