"""CELLM: another name of FLASC, low-rank adapters that are sparse both ways and dense where they are trained."""

from __future__ import annotations

from dataclasses import dataclass

from fedsparse.strategies.flasc import Flasc


@dataclass(frozen=True)
class Cellm(Flasc):
    """CELLM (Vavekanand, Sam, 2024, arXiv:2407.20557): the rule and the options of ``flasc``.

    The method is that of Raje's thesis (CMU-CS-24-123, 2024) and of Kuo, Raje, Rajesh, Smith (2024, arXiv:2406.05233),
    to whom it is due. Sent, state and limit are those of ``flasc``.
    """
