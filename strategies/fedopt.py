"""FedAvg with an adaptive or momentum optimiser on the server."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedsparse.options import option
from fedsparse.protocol import Context, Facts, Inbox, Role, Start, State, Theory
from fedsparse.strategies.fedavg import FedAvg


@dataclass(frozen=True)
class FedOpt(FedAvg):
    """FedAvgM, FedAdam, FedYogi, FedAdagrad (Reddi et al., ICLR 2021, arXiv:2003.00295; Hsu et al. 2019 for FedAvgM).

    Clients as in ``fedavg``. With D = sum_i p_i (y_i - x), β1 = ``beta1``, β2 = ``beta2``, τ = ``tau``,
    η = ``server_lr``, ``optimizer`` is::

        momentum   m <- β1 m + D                                    x <- x + η m
        adam       m <- β1 m + (1-β1) D   v <- β2 v + (1-β2) D²      x <- x + η m / (sqrt(v) + τ)
        yogi       m  as adam             v <- v - (1-β2) D² sign(v - D²)       "
        adagrad    m  as adam             v <- v + D²                           "

    m starts at zero and v at τ²; there is no bias correction, as in the paper. FedAvgM's m is not damped, so a step of
    about (1-β1) matches FedAvg's. The paper runs FedAdagrad with β1 = 0.

    Sent: what FedAvg sends. Server state: 2 vectors (momentum) or 3.
    Limit: FedAvg's fixed point with all clients and exact gradients; at a constant η a neighbourhood of it otherwise.
    """

    theory = Theory(
        "fixed_point",
        {"lr": 0.02, "steps": 5, "optimizer": "momentum", "server_lr": 0.3},
        rounds=600,
        within=1e-6,
        rate="linear",
    )

    optimizer: str = option("adam", "the server's rule", choices=("momentum", "adam", "yogi", "adagrad"))
    server_lr: float = option(0.03, "server step size η", above=0)
    beta1: float = option(0.9, "memory β1 of the mean change", at_least=0, below=1)
    beta2: float = option(0.99, "memory β2 of its square (adam, yogi)", at_least=0, below=1)
    tau: float = option(1e-3, "adaptivity τ: smallest scale that counts", above=0)

    def init(self, role: Role, start: Start, ctx: Context) -> State:
        if role != "server":
            return {}
        moments = {"m": torch.zeros_like(start.x)}
        if self.optimizer != "momentum":
            moments["v"] = torch.full_like(start.x, self.tau**2)
        return {"x": start.x, **moments}

    def aggregate(self, server: State, inbox: Inbox, ctx: Context) -> State:
        change = inbox.mean("dx", by=self.weighting)
        if self.optimizer == "momentum":
            m = self.beta1 * server["m"] + change
            return {"x": server["x"] + self.server_lr * m, "m": m}
        m = self.beta1 * server["m"] + (1 - self.beta1) * change
        v, square = server["v"], change.square()
        if self.optimizer == "adam":
            v = self.beta2 * v + (1 - self.beta2) * square
        elif self.optimizer == "yogi":
            v = v - (1 - self.beta2) * square * torch.sign(v - square)
        else:
            v = v + square
        return {"x": server["x"] + self.server_lr * m / (v.sqrt() + self.tau), "m": m, "v": v}

    def theory_lr(self, facts: Facts) -> float | None:
        """FedAvg's for ``optimizer=momentum``, a heavy ball, which bears twice it; none for the adaptive rules."""
        return super().theory_lr(facts) if self.optimizer == "momentum" else None
