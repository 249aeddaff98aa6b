"""EC-Ideal: error feedback that knows every client's gradient at the optimum; a yardstick, not a method."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedsparse.compress import TopK
from fedsparse.protocol import Task, Theory
from fedsparse.strategies.ec_sgd import ECSGD


@dataclass(frozen=True)
class ECIdeal(ECSGD):
    """EC-Ideal (Gao, Islamov, Stich, ICLR 2024, arXiv:2311.05645).

    With h_i = ∇f_i(x*) at the optimum x*, known to client i from the beginning, and all else as in ``ec_sgd``::

        client:   u_i = C(e_i - γ (g_i(x) - h_i));   e_i <- e_i - γ (g_i(x) - h_i) - u_i;   send u_i
        server:   x <- x + (1/N) sum_i u_i

    Sent and kept: as in ``ec_sgd``. Nobody can run it: it shows what error feedback reaches at best, and only problems
    whose optimum is known have it (``data=quadratic``); others are refused. Each round counts two gradients: one at x*.

    Limit: the optimum. Departures: γ is inside the memory, which is the same while it is constant; the server's term
    (1/N) sum_i h_i = ∇f(x*) = 0 is left out.
    """

    needs_optimum = True
    theory = Theory("optimum", {"lr": 0.1, "uplink": TopK(0.1)}, rounds=400, within=1e-6, rate="linear")

    def gradient(self, x: Tensor, task: Task) -> Tensor:
        return task.grad(x) - task.full_grad(task.optimum)
