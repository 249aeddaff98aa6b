"""Numbers for people: ``12.3 MB``, ``2 min 5 s``, and back. Decimal prefixes, three digits."""

from __future__ import annotations

import math
import re

__all__ = ["UNITS", "amount", "bytes_text", "number_text", "seconds_text"]

UNITS = {
    "": 1.0, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
    "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "k": 1e3, "M": 1e6,
}  # fmt: skip
"""What an :func:`amount` may be of."""

_PREFIXES = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def amount(text: str) -> float | None:
    """``500kB``, ``2 min``, ``100`` as a number above 0; ``None`` where it is none."""
    found = re.fullmatch(r"([0-9.]+(?:e[+-]?\d+)?)\s*([A-Za-z]*)", text)
    try:
        value = float(found[1]) * UNITS[found[2]] if found else math.nan
    except (ValueError, KeyError):
        return None
    return value if math.isfinite(value) and value > 0 else None


def bytes_text(count: float) -> str:
    """``999 B``, ``1.00 kB``, ``12.3 MB``."""
    power = 0
    # What would be shown as 1000 goes to the next unit.
    while count >= (999.5 if power else 1000) and power < len(_PREFIXES) - 1:
        count, power = count / 1000, power + 1
    return f"{_three_digits(count) if power else f'{count:.0f}'} {_PREFIXES[power]}"


def seconds_text(seconds: float) -> str:
    """``12 ms``, ``3.45 s``, ``2 min 5 s``, ``3 h 20 min``, ``4 d 3 h``; ``?`` where it is not a number."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 59.95:
        return f"{_three_digits(seconds)} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def number_text(value: float) -> str:
    """A metric with four significant digits; small and large ones with an exponent."""
    return f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3e}"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
