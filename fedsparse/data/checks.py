"""Checks of option values; each names the option, the value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedsparse.errors import ConfigError

__all__ = ["one_of", "whole", "within"]


def within(option: str, value: float, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
    """Require a finite ``low <= value <= high``, or ``low < value`` when ``open_low``.

    Raises:
        ConfigError: the value lies outside.
    """
    if math.isfinite(value) and low <= value <= high and not (open_low and value == low):
        return
    bounds = f"{'above' if open_low else 'at least'} {low:g}" + (
        f", at most {high:g}" if high < math.inf else ""
    )
    raise ConfigError(f"{option}={value}: must be a finite number, {bounds}")


def whole(option: str, value: int, low: int) -> None:
    """Require a whole number of at least ``low``.

    Raises:
        ConfigError: the value is not a whole number, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ConfigError(f"{option}={value!r}: must be a whole number, at least {low}")


def one_of(option: str, value: str, choices: Sequence[str]) -> None:
    """Require one of ``choices``.

    Raises:
        ConfigError: the value is none of them.
    """
    if value not in choices:
        raise ConfigError(f"{option}={value!r}: must be one of {', '.join(choices)}")
