"""FedAvg, broken in one way each. Every class names the check that is there to find it out."""

from __future__ import annotations

import broken_communication
import broken_form
import broken_state
import broken_theory

from fedsparse.protocol import Strategy

__all__ = ["BROKEN"]

BROKEN = [
    cls
    for module in (broken_form, broken_state, broken_communication, broken_theory)
    for cls in vars(module).values()
    if isinstance(cls, type) and issubclass(cls, Strategy) and getattr(cls, "caught_by", "")
]
