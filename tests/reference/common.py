"""What all transcriptions share: the record of a run, and the loop of local steps."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .toys import Array

Gradient = Callable[[int, Array], Array]


@dataclass(frozen=True)
class Trace:
    """A run: server iterates x^0 .. x^T [T + 1, d], final server vectors [d], final client states [n, d]."""

    x: Array
    server: dict[str, Array] = field(default_factory=dict)
    clients: dict[str, Array] = field(default_factory=dict)

    @property
    def last(self) -> Array:
        """x^T."""
        return self.x[-1]


def local_steps(
    gradient: Gradient, client: int, x: Array, lr: float, steps: int, *, shift: Array | float = 0.0
) -> Array:
    """Y after `steps` of y <- y - lr (gradient(client, y) + shift), from y = x."""
    y = x
    for _ in range(steps):
        y = y - lr * (gradient(client, y) + shift)
    return y


def table(clients: int, x: Array, given: Array | None = None) -> Array:
    """A fresh client state [n, d]: a copy of the given rows, or zeros."""
    return np.zeros((clients, x.size)) if given is None else np.array(given, dtype=np.float64)


def all_gradients(gradient: Gradient, x: Array, clients: int) -> Array:
    """The gradients of all clients at x, [n, d]."""
    return np.stack([gradient(i, x) for i in range(clients)])
