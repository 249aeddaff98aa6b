"""Checks of a strategy's class: what it is, what it says about itself, which values it takes."""

from __future__ import annotations

import copy
from dataclasses import Field, FrozenInstanceError, fields, replace
from typing import Any, get_args, get_type_hints

from fedsparse.compress import Compressor
from fedsparse.errors import ConfigError
from fedsparse.options import help_of, validate
from fedsparse.protocol import Strategy
from fedsparse.testing.report import ConformanceError, Finding, passed

__all__ = ["check_dataclass", "check_documented", "check_options"]

_NAN = float("nan")


def check_dataclass(strategy: Strategy) -> Finding:
    """The class is a frozen dataclass: it can be printed, compared, and sent to workers, and it never changes.

    Raises:
        ConformanceError: it is not.
    """
    cls = type(strategy)
    if "__dataclass_fields__" not in vars(cls):
        raise ConformanceError(
            f"{cls.__name__} is not a dataclass itself, so its annotations make no fields; put @dataclass(frozen=True) "
            "above it"
        )
    try:
        copy.copy(strategy).conformance = 0  # type: ignore[attr-defined]
    except FrozenInstanceError:
        return passed("dataclass", f"frozen, {len(fields(strategy))} fields")
    raise ConformanceError(
        f"{cls.__name__} takes new values after it was made; use @dataclass(frozen=True), no __setattr__"
    )


def check_documented(strategy: Strategy) -> Finding:
    """The class has a docstring of its own.

    Raises:
        ConformanceError: it has none.
    """
    cls = type(strategy)
    text = vars(cls).get("__doc__") or ""
    if not text.strip() or text.startswith(f"{cls.__name__}("):
        raise ConformanceError(
            f"{cls.__name__} has no docstring; write the source, the update rule with its symbols tied to the fields, "
            "what is sent, and where it departs from the paper"
        )
    return passed("documented", f"a docstring of {len(text.strip().splitlines())} lines")


def check_options(strategy: Strategy) -> Finding:
    """Every number among the fields is documented by :func:`fedsparse.options.option` and refuses NaN.

    Raises:
        ConformanceError: names the field.
    """
    cls = type(strategy)
    hints = get_type_hints(cls)
    numbers = [f for f in fields(strategy) if f.init and _is_number(hints[f.name])]
    for entry in numbers:
        if not help_of(entry):
            raise ConformanceError(
                f"field '{entry.name}' has no help text; make it by option(default, 'what it is', above=...)"
            )
        if _accepts(strategy, entry, _NAN):
            raise ConformanceError(
                f"field '{entry.name}' accepts NaN; give option() a range, or check it in __post_init__"
            )
    others = sum(isinstance(getattr(strategy, f.name), Compressor) for f in fields(strategy))
    return passed("options", f"{len(numbers)} numbers documented and checked, {others} compressors")


def _is_number(kind: Any) -> bool:
    return bool({int, float} & {kind, *get_args(kind)})


def _accepts(strategy: Strategy, entry: Field[Any], value: float) -> bool:
    try:
        validate(replace(strategy, **{entry.name: value}))
    except ConfigError:
        return False
    return True
