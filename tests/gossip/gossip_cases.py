"""What the tests of gossip strategies share: problems with known optima, runs, and what to compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsparse import rng
from fedsparse.engine.faults import Faults
from fedsparse.graphs import Matrices, Mixing, Topology
from fedsparse.protocol import Strategy
from fedsparse.simulation import Result, simulate
from fedsparse.topologies.ring import Ring
from fedsparse.topologies.torus import Torus

Array = NDArray[np.float64]

RING, TORUS = Ring(), Torus()

LOSSY = Faults(link_loss=0.2)
MUTUAL = Faults(link_loss=0.2, symmetric=True)
AWAY = Faults(dropout=0.1, link_loss=0.2)


@dataclass(frozen=True)
class Bowls:
    """Quadratics f_i(x) = sum_k a_ik (x_k - b_ik)^2 / 2, with noise in the gradients if wanted."""

    a: Tensor
    b: Tensor
    noise: float = 0.0
    first: Tensor | None = field(default=None)

    @property
    def clients(self) -> int:
        return len(self.a)

    @property
    def start(self) -> Tensor:
        return torch.zeros_like(self.a[0]) if self.first is None else self.first

    @property
    def optimum(self) -> Tensor:
        return (self.a * self.b).sum(0) / self.a.sum(0)

    def gradient(self, ids: Tensor, x: Tensor, draw: rng.Streams) -> Tensor:
        exact = self.a[ids] * (x - self.b[ids])
        return exact + self.noise * draw.normal(x.shape[1], x.dtype) if self.noise else exact

    def full_gradient(self, ids: Tensor, x: Tensor) -> Tensor:
        return self.a[ids] * (x - self.b[ids])

    def gradients(self, x: Tensor) -> Tensor:
        """Each client's gradient at its own row of ``x [n, d]``."""
        return self.a * (x - self.b)


def line() -> Bowls:
    """The scalar toy of 16 clients: a_i = 1 + i/15, b_i = i; the optimum is 8.4444..."""
    i = torch.arange(16, dtype=torch.float64)[:, None]
    return Bowls(1 + i / 15, i)


def bowls(
    clients: int = 16, size: int = 20, seed: int = 0, noise: float = 0.0, dtype: torch.dtype = torch.float64
) -> Bowls:
    """Curvatures between 1 and 2, centres from a Gaussian."""
    draw = np.random.default_rng(seed)
    a, b = draw.uniform(1, 2, (clients, size)), draw.standard_normal((clients, size))
    return Bowls(torch.from_numpy(a).to(dtype), torch.from_numpy(b).to(dtype), noise)


def flat(clients: int = 16, size: int = 20) -> Bowls:
    """No gradient anywhere: what remains is gossip."""
    zero = torch.zeros(clients, size, dtype=torch.float64)
    return Bowls(zero, zero)


def scattered(clients: int = 16, size: int = 20, seed: int = 1) -> Tensor:
    """A start for each client, ``[n, d]``."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((clients, size)))


def run(
    strategy: Strategy, problem: Bowls, topology: Topology = RING, rounds: int = 20, **given: Any
) -> Result:
    """A run in one block that evaluates its last round only; ``starts`` may be rows ``[n, d]``."""
    starts = given.pop("starts", None)
    if isinstance(starts, Tensor):
        rows = starts
        starts = lambda client: rows[client]  # noqa: E731 - it is what simulate wants
    options = {"block": problem.clients, "evaluate_every": rounds, "starts": starts} | given
    return simulate(strategy, problem, topology=topology, rounds=rounds, **options)


def rows(result: Result, name: str = "x") -> Array:
    """A state of all clients ``[n, d]``."""
    return result.clients[name].numpy()


def weights(topology: Topology, clients: int = 16, mixing: Mixing | None = None) -> Array:
    """W ``[n, n]``."""
    return Matrices(topology, clients, mixing).at(0).toarray()


def far(result: Result, problem: Bowls, name: str = "x") -> float:
    """The largest distance of a client's coordinate from the optimum."""
    return float(np.abs(rows(result, name) - problem.optimum.numpy()).max())


def rms(result: Result, problem: Bowls, name: str = "x") -> float:
    """Root of the mean squared distance of the clients' coordinates from the optimum."""
    return float(np.sqrt(((rows(result, name) - problem.optimum.numpy()) ** 2).mean()))


def spread(x: Array) -> float:
    """Sum of squared distances from the mean of all clients."""
    return float(((x - x.mean(0)) ** 2).sum())


def same_mean(x: Array, y: Array, within: float = 1e-13) -> None:
    """Two matrices of clients' rows have the same mean row."""
    np.testing.assert_allclose(x.mean(0), y.mean(0), rtol=0, atol=within)


def assert_same_bits(first: Result, second: Result) -> None:
    """Two runs agree in every bit of the states, and in the bytes counted."""
    assert first.clients.keys() == second.clients.keys()
    assert all(torch.equal(first.clients[name], second.clients[name]) for name in first.clients)
    assert [r.traffic for r in first.history] == [r.traffic for r in second.history]


def assert_any_blocks_and_wire(make: Callable[..., Result]) -> None:
    """``make(**options)`` gives the same bits for blocks of 1, 5 and 16, and with messages really encoded."""
    whole = make(block=16)
    for options in ({"block": 1}, {"block": 5}, {"block": 16, "encode": True}):
        assert_same_bits(whole, make(**options))
