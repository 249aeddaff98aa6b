"""FedAvg whose local steps are pulled back towards the server's model."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from fedsparse.options import option
from fedsparse.protocol import Facts, Task, Theory, Trained
from fedsparse.strategies.fedavg import FedAvg


@dataclass(frozen=True)
class FedProx(FedAvg):
    """FedProx (Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, MLSys 2020, arXiv:1812.06127).

    As ``fedavg``, with μ = ``mu``::

        client:   y_i <- y_i - η_l (g_i(y_i) + μ (y_i - x))

    Sent: what FedAvg sends. ``mu=0`` is FedAvg. Limit: still biased when clients differ; the pull only shrinks it.
    Departure: the local problem is solved by K (or ``epochs``) plain steps, not to a stated inexactness γ.
    """

    theory = Theory("neighbourhood", {"lr": 0.02, "steps": 5, "mu": 0.1}, rounds=300, within=1e-3)

    mu: float = option(0.01, "weight μ of the pull towards the server's model", at_least=0)

    def train(self, x: Tensor, task: Task) -> Trained:
        """Local training from ``x [1, d]``."""
        return task.sgd(
            x,
            lr=self.lr,
            steps=None if self.epochs else self.steps,
            epochs=self.epochs,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            prox=self.mu,
        )

    def theory_lr(self, facts: Facts) -> float | None:
        """FedAvg's, with L + μ for L and L_max + μ for L_max.

        The pull adds μ to the curvature of what a client minimises; derived, not from the paper.
        """
        return super().theory_lr(replace(facts, L=facts.L + self.mu, L_max=facts.L_max + self.mu))
