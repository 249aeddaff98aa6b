"""Problems without a server: quadratics, clients that only average, and runs of both."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsparse.gossip import Gossip
from fedsparse.graphs import Topology
from fedsparse.simulation import Result, simulate


@dataclass(frozen=True)
class Quadratics:
    """f_i(x) = 1/2 sum_k a_ik (x_k - b_ik)^2 on ``[n, d]`` coefficients."""

    a: NDArray[np.float64]
    b: NDArray[np.float64]

    @property
    def clients(self) -> int:
        return len(self.a)

    @property
    def start(self) -> Tensor:
        return torch.zeros(self.a.shape[1], dtype=torch.float64)

    @property
    def optimum(self) -> NDArray[np.float64]:
        whole = self.a.sum(0)
        found: NDArray[np.float64] = (self.a * self.b).sum(0) / np.where(whole > 0, whole, 1)
        return found

    def gradient(self, ids: Tensor, x: Tensor, draw: Any) -> Tensor:
        return torch.from_numpy(self.a)[ids] * (x - torch.from_numpy(self.b)[ids])

    def evaluate(self, x: Tensor) -> dict[str, float]:
        return {"distance": float((x - torch.from_numpy(self.optimum)).norm())}


def line(n: int = 16) -> Quadratics:
    """The scalar toy: a_i = 1 + i / (n-1), b_i = i."""
    i = np.arange(n, dtype=np.float64)[:, None]
    return Quadratics(1 + i / (n - 1), i)


def idle(n: int, d: int) -> Quadratics:
    """Clients without any gradient: they only average."""
    return Quadratics(np.zeros((n, d)), np.zeros((n, d)))


def gaussian(n: int, d: int, seed: int = 0) -> NDArray[np.float64]:
    """Different starts ``[n, d]``."""
    return np.random.default_rng(seed).standard_normal((n, d))


def gossip(
    strategy: Gossip, problem: Any, topology: Topology, rounds: int, starts: Any = None, **options: Any
) -> Result:
    """A run that is evaluated at its end."""
    begin = None if starts is None else (lambda client: torch.from_numpy(starts[client]))
    options = {"evaluate_every": rounds} | options
    return simulate(strategy, problem=problem, topology=topology, rounds=rounds, starts=begin, **options)


def rows(result: Result, name: str = "x") -> NDArray[np.float64]:
    """A state of all clients, ``[n, ...]``."""
    found: NDArray[np.float64] = result.clients[name].numpy()
    return found
