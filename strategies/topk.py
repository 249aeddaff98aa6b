"""FedAvg with a biased sparse uplink and no memory: the naive method that error feedback repairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedsparse.compress import Compressor, TopK
from fedsparse.protocol import Facts, Theory
from fedsparse.strategies.fedavg import FedAvg


@dataclass(frozen=True)
class NaiveTopK(FedAvg):
    """FedAvg with C = top-k on the uplink and nothing that remembers what was left out.

    The rule is FedAvg's, with any compressor. What top-k drops is lost for good, so that entries which are never
    among a client's largest never move (Beznosikov, Horváth, Richtárik, Safaryan 2020, arXiv:2002.12410, give an
    example that diverges). It is here as the baseline that the others have to beat.

    Sent: down x; up k entries of the change. Clients keep no state. Limit: a distance that does not shrink.
    """

    uplink_class = "any"
    theory = Theory("neighbourhood", {"lr": 0.02, "steps": 5, "uplink": TopK(0.1)}, rounds=300, within=0.1)

    uplink: Compressor = TopK(0.01)

    def theory_lr(self, facts: Facts) -> float | None:
        """FedAvg's; none with a biased compressor, with which no step size is safe."""
        return super().theory_lr(facts) if math.isfinite(facts.omega) else None
