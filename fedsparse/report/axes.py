"""What a metric can be held against: rounds, bytes, virtual seconds, gradient calls."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedsparse.units import bytes_text, seconds_text

__all__ = ["AXES", "Axis"]


@dataclass(frozen=True)
class Axis:
    """A kind of cost, which grows from round to round.

    Attributes:
        name: its key.
        label: what figures call it.
        unit: ``"bytes"``, ``"seconds"`` or ``""`` for a number of things.
        short: what heads a column.
    """

    name: str
    label: str
    unit: str
    short: str

    def text(self, value: float) -> str:
        """An amount of it, for people; a dash where there is none."""
        if not math.isfinite(value):
            return "–"
        if self.unit == "bytes":
            return bytes_text(value)
        return seconds_text(value) if self.unit == "seconds" else f"{value:,.0f}"


AXES = {
    axis.name: axis
    for axis in (
        Axis("up_bytes", "bytes sent by clients", "bytes", "up"),
        Axis("total_bytes", "bytes sent, both directions", "bytes", "up and down"),
        Axis("rounds", "rounds", "", "rounds"),
        Axis("virtual_s", "network time", "seconds", "network time"),
        Axis("gradient_calls", "gradients of clients", "", "gradients"),
        Axis("radio_bytes", "bytes on the air", "bytes", "on the air"),
    )
}
"""By name, in the order of menus and tables. ``radio_bytes`` counts a broadcast to all neighbours once, and is known of
gossip only."""
