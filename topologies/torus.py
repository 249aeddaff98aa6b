"""A grid whose edges are joined: four neighbours for everyone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedsparse.topologies.grid import Grid


@dataclass(frozen=True)
class Torus(Grid):
    """A grid that goes on at the opposite side. A side of two clients has one link where it would have two.

    With Metropolis weights and m x m clients, m even and at least 4, ρ = max((3 + 2 cos(2π/m)) / 5, 3/5).
    """

    periodic: ClassVar[bool] = True
