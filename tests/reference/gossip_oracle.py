"""The common setting of the checks of gossip: weights of 16 nodes, two toys, a cloud of models."""

from dataclasses import dataclass

import numpy as np

from fedsparse.graphs import Matrices, Topology
from fedsparse.topologies.ring import Ring
from fedsparse.topologies.torus import Torus

from .mixing import Lost
from .toys import Array

NODES = 16


def weights_of(topology: Topology, nodes: int = NODES, exchanges: int | None = None) -> Array:
    """W of the topology's usual rule [n, n]; with `exchanges`, that of each, [T, n, n]."""
    matrices = Matrices(topology, nodes)
    if exchanges is None:
        return matrices.at(0).toarray()
    return np.stack([matrices.at(t).toarray() for t in range(exchanges)])


RING, TORUS = weights_of(Ring()), weights_of(Torus())


@dataclass(frozen=True)
class Bowls:
    """Node i has f_i(x) = sum_c a_ic (x_c - b_ic)^2 / 2; a and b are [n, d]."""

    a: Array
    b: Array

    def gradient(self, i: int, x: Array) -> Array:
        """Of node i, [d]."""
        return self.a[i] * (x - self.b[i])

    @property
    def x0(self) -> Array:
        """Everyone starts at 0, [n, d]."""
        return np.zeros_like(self.b)

    @property
    def x_star(self) -> Array:
        """The minimum of the mean, [d]."""
        return (self.a * self.b).sum(0) / self.a.sum(0)

    def error(self, x: Array) -> float:
        """Root mean square distance of the nodes' entries from the minimum."""
        return float(np.sqrt(((x - self.x_star) ** 2).mean()))

    def worst(self, x: Array) -> float:
        """Largest distance of a node's entry from the minimum."""
        return float(np.abs(x - self.x_star).max())


def line(nodes: int = NODES, *, equal: bool = False) -> Bowls:
    """One parameter; a_i = 1 + i / (n - 1), or 1 for all; b_i = i."""
    i = np.arange(float(nodes))[:, None]
    return Bowls(np.ones_like(i) if equal else 1 + i / (nodes - 1), i)


def bowls(seed: int = 3, size: int = 20, spread: float = 3.0) -> Bowls:
    """16 nodes, `size` parameters; a = 1 + i/15, b normal with deviation `spread`."""
    b = spread * np.random.default_rng(seed).standard_normal((NODES, size))
    return Bowls(np.repeat(line().a, size, axis=1), b)


def cloud(nodes: int = NODES, size: int = 20) -> Array:
    """Models that are far apart: standard normal entries."""
    return np.random.default_rng(1).standard_normal((nodes, size))


def drawn_losses(exchanges: int, probability: float, seed: int, nodes: int = NODES) -> Lost:
    """Every message of every exchange, independently, [T, n, n]."""
    return np.random.default_rng(seed).random((exchanges, nodes, nodes)) < probability


def rate(errors: Array, first: int, last: int) -> float:
    """Factor a round between two rounds."""
    return float((errors[last] / errors[first]) ** (1 / (last - first)))
