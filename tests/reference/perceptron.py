"""A multilayer perceptron in NumPy, and nodes that each train one on their own digits."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedsparse.data.sets import digits

from .toys import Array

SIZES = (64, 64, 64, 64, 64, 10)


def tensors() -> list[tuple[slice, tuple[int, int]]]:
    """Where the weights of each layer lie in the flat vector, and their shapes [in, out]; biases follow each."""
    cuts, start = [], 0
    for fan_in, fan_out in pairwise(SIZES):
        cuts.append((slice(start, start + fan_in * fan_out), (fan_in, fan_out)))
        start += (fan_in + 1) * fan_out
    return cuts


def xavier(seed: int) -> Array:
    """Uniform weights of variance 2 / (in + out), biases 0, [d]."""
    rng, parts = np.random.default_rng(seed), []
    for fan_in, fan_out in pairwise(SIZES):
        limit = np.sqrt(6 / (fan_in + fan_out))
        parts += [rng.uniform(-limit, limit, fan_in * fan_out), np.zeros(fan_out)]
    return np.concatenate(parts)


def layers(x: Array) -> list[tuple[Array, Array]]:
    """Weights and biases of each layer, as parts of x."""
    return [(x[cut].reshape(shape), x[cut.stop : cut.stop + shape[1]]) for cut, shape in tensors()]


def activations(x: Array, images: Array) -> list[Array]:
    """The inputs of each layer, and the scores; tanh between the layers."""
    out = [images]
    for W, b in layers(x):
        out.append((out[-1] if len(out) == 1 else np.tanh(out[-1])) @ W + b)
    return out


def gradient(x: Array, images: Array, labels: NDArray[np.int64]) -> Array:
    """Of the mean cross-entropy, [d]."""
    before, parameters = activations(x, images), layers(x)
    scores = np.exp(before[-1] - before[-1].max(1, keepdims=True))
    D = scores / scores.sum(1, keepdims=True)
    D[np.arange(len(labels)), labels] -= 1
    D /= len(labels)
    parts = []
    for k in reversed(range(len(parameters))):
        H = before[k] if k == 0 else np.tanh(before[k])
        parts += [D.sum(0), (H.T @ D).ravel()]
        if k > 0:
            D = (D @ parameters[k][0].T) * (1 - H**2)
    return np.concatenate(parts[::-1])


class Learners:
    """Nodes with digits of their own, minibatches of 32 and momentum 0.9; each call of `direction` is one step.

    With `skew` a node's labels have proportions drawn from Dirichlet(skew), else all images are dealt out evenly.
    """

    def __init__(self, nodes: int, seed: int, skew: float | None = None) -> None:
        data, rng = digits.load(None, 0), np.random.default_rng(seed)
        self.images, self.labels = data.x.reshape(-1, 64) / 16, data.y
        self.test = data.x_test.reshape(-1, 64) / 16, data.y_test
        if skew is None:
            self.own = np.array_split(rng.permutation(len(self.labels)), nodes)
        else:
            self.own = [self._drawn(rng, rng.dirichlet(np.full(10, skew))) for _ in range(nodes)]
        self.momentum = np.zeros((nodes, xavier(0).size))
        self.rng = rng

    def _drawn(self, rng: np.random.Generator, proportions: Array) -> NDArray[np.int64]:
        p = proportions[self.labels] / np.bincount(self.labels)[self.labels]
        return rng.choice(len(self.labels), 45, p=p / p.sum())

    def direction(self, i: int, x: Array) -> Array:
        """The momentum of node i after a gradient at x."""
        batch = self.rng.choice(self.own[i], 32, replace=False)
        self.momentum[i] = 0.9 * self.momentum[i] + gradient(x, self.images[batch], self.labels[batch])
        return self.momentum[i].copy()

    def accuracy(self, x: Array) -> float:
        """Mean share of the test digits that a node has right."""
        images, labels = self.test
        return float(np.mean([(activations(row, images)[-1].argmax(1) == labels).mean() for row in x]))
