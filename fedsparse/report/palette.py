"""Colours, dashes and markers by which methods are told apart, on paper and on the screen.

Each colour stands out from its background by a contrast of 3 at least (WCAG 2.2, 1.4.11), and neighbours stay apart for
people who do not see red or green. Colour is never alone: a dash and a marker go with it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DARK", "DASHES", "LIGHT", "MARKERS", "Look", "look"]

LIGHT = ("#0064c8", "#d4500c", "#118a5b", "#aa3c96", "#2b2b2b", "#2a9bc2", "#6b4f00", "#8f6bff")
"""On white."""

DARK = ("#4da3ff", "#ff8a4c", "#35c78f", "#e58ad0", "#e8e8e8", "#8fe3ff", "#d9b84a", "#b49bff")
"""The same ones on a dark screen."""

DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2), (2, 1.5), (7, 2, 1.5, 2), (11, 3))
"""Lengths of strokes and gaps, in widths of the line; none: a whole line."""

MARKERS = ("circle", "square", "triangle", "diamond", "cross", "plus", "down")
"""Shapes of markers."""


@dataclass(frozen=True)
class Look:
    """How a method is drawn: places in the lists of this module."""

    colour: int
    dash: int
    marker: int


def look(place: int) -> Look:
    """The look of the method in this place; 280 of them are different."""
    return Look(place % len(LIGHT), place % len(DASHES), place % len(MARKERS))
