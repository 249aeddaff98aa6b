"""A problem with one layer and biases, for trainers whose iterates are computed a second time in NumPy."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from fedsparse import Result, simulate
from fedsparse.cohort.trainer import Trainer
from fedsparse.strategies.fedavg import FedAvg

SHAPE, BIASES, CLIENTS, ROUNDS, STEPS, LR = (6, 8), 6, 4, 8, 3, 0.1
WEIGHTS = SHAPE[0] * SHAPE[1]
SIZE = WEIGHTS + BIASES

_DRAWN = np.random.default_rng(5)
CURVES = _DRAWN.uniform(0.5, 2.0, (CLIENTS, SIZE))
MINIMA = _DRAWN.normal(size=(CLIENTS, SIZE))
START = _DRAWN.normal(size=SIZE)


@dataclass(frozen=True)
class Layer:
    """Gradients h_i (x - b_i) of weights and biases, of which the former may be pruned."""

    clients: int = CLIENTS
    shapes: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"w": SHAPE, "b": (BIASES,)})
    prunable: tuple[str, ...] = ("w",)

    @property
    def start(self) -> torch.Tensor:
        return torch.from_numpy(START)

    def gradient(self, ids: torch.Tensor, x: torch.Tensor, draw: object) -> torch.Tensor:
        return torch.from_numpy(CURVES)[ids] * (x - torch.from_numpy(MINIMA)[ids])


def gradient(client: int, x: np.ndarray) -> np.ndarray:
    """That of one client, in NumPy."""
    return CURVES[client] * (x - MINIMA[client])


def trained(trainer: Trainer | None, momentum: float = 0.9, weight_decay: float = 0.0) -> Result:
    """FedAvg with all clients."""
    strategy = FedAvg(lr=LR, steps=STEPS, momentum=momentum, weight_decay=weight_decay)
    return simulate(strategy, Layer(), rounds=ROUNDS, trainer=trainer, keep_models=True, seed=7)


def largest(x: np.ndarray, count: int) -> np.ndarray:
    """The mask of the ``count`` largest weights, and of all biases."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[np.argsort(-np.abs(x[:WEIGHTS]), kind="stable")[:count]] = True
    mask[WEIGHTS:] = True
    return mask


def local(client: int, x: np.ndarray, mask: np.ndarray, momentum: float = 0.9) -> np.ndarray:
    """Steps with momentum on a mask."""
    y, velocity = x * mask, np.zeros(SIZE)
    for _ in range(STEPS):
        velocity = momentum * velocity + gradient(client, y) * mask
        y = y - LR * velocity
    return y
