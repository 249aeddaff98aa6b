"""What strategies for low-rank adapters have in common: local training, the server's optimiser, the residual.

The product of a layer's adapter is B A, its parameters ``<layer>.lora_A [r, in]`` and ``<layer>.lora_B [out, r]``. All
else that is trained is the head. What is frozen is no part of the parameter vector.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.masks import everywhere
from fedsparse.options import option
from fedsparse.protocol import Field, Layout, State, Strategy, Task, Trained

__all__ = ["Adapters", "Local", "adapter_fields", "head_of", "rank_masks", "residual"]


def adapter_fields(layout: Layout) -> tuple[Field, ...]:
    """The tensors A and B of all adapters."""
    return tuple(field for pair in layout.adapters for field in pair)


def head_of(layout: Layout) -> Tensor:
    """The mask ``[d]`` of what belongs to no adapter."""
    return everywhere(layout, adapter_fields(layout))


def rank_masks(layout: Layout, ranks: Sequence[int]) -> Tensor:
    """What a client of each rank has, ``[n, d]`` bool: the first rows of A, the first columns of B, and the head."""
    found = torch.ones(len(ranks), layout.size, dtype=torch.bool)
    of_each = torch.tensor(ranks)[:, None]
    for a, b in layout.adapters:
        there = torch.arange(a.shape[0]) < of_each
        found[:, a.slice] = there.repeat_interleave(a.shape[1], 1)
        found[:, b.slice] = there.repeat(1, b.shape[0])
    return found


def residual(x: Tensor, layout: Layout) -> float:
    """What averaging A and B apart misses: |mean(B A) - mean(B) mean(A)| / |mean(B A)|, in Frobenius norm.

    The numerator is mean((B_i - mean B) (A_i - mean A)), a matrix of rank at most (M - 1) r. Its norm is taken by the
    Gram matrices of the factors. All layers together; alpha / r, which is the same in all of them, cancels.

    Args:
        x: models of M clients, ``[M, d]``.
        layout: of them.

    Returns:
        The ratio; 0 where the mean product is zero or there is no adapter.
    """
    shapes: dict[tuple[tuple[int, ...], ...], list[tuple[Field, Field]]] = defaultdict(list)
    for a, b in layout.adapters:
        shapes[a.shape, b.shape].append((a, b))
    missed = whole = 0.0
    for alike in shapes.values():
        a, b = (_stacked(x, [pair[k] for pair in alike]) for k in (0, 1))
        missed += _square_of_mean(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True))
        whole += _square_of_mean(a, b)
    return (missed / whole) ** 0.5 if whole > 0 else 0.0


def _stacked(x: Tensor, fields: Sequence[Field]) -> Tensor:
    """These tensors, which are of one shape, of all clients: ``[L, M, *shape]`` float64."""
    return torch.stack([x[:, f.slice].reshape(len(x), *f.shape) for f in fields]).double()


def _square_of_mean(a: Tensor, b: Tensor) -> float:
    """The sum over layers of |mean_i B_i A_i|², of ``a [L, M, r, in]`` and ``b [L, M, out, r]``."""
    clients = a.shape[1]
    rows = a.flatten(1, 2)
    columns = b.transpose(2, 3).flatten(1, 2)
    grams = (rows @ rows.mT) * (columns @ columns.mT)
    return max(0.0, float(grams.sum())) / clients**2


@dataclass(frozen=True)
class Local(Strategy):
    """Local steps of the clients."""

    lr: float = option(0.05, "local step size η_l", above=0)
    steps: int = option(5, "local steps K of every client", at_least=1)
    epochs: int | None = option(None, "passes over each client's examples, instead of steps", at_least=1)
    momentum: float = option(
        0.9, "heavy-ball weight of the local steps, zero at their start", at_least=0, below=1
    )

    def train(self, x: Tensor, task: Task, mask: Tensor | None = None) -> Trained:
        """Local training from ``x``, on ``mask`` where there is one; both ``[1, d]`` or ``[C, d]``."""
        return task.sgd(
            x,
            lr=self.lr,
            steps=None if self.epochs else self.steps,
            epochs=self.epochs,
            momentum=self.momentum,
            mask=None if mask is None else mask.to(x.dtype),
        )


@dataclass(frozen=True)
class Adapters(Local):
    """Local steps of the clients; an unweighted mean; and AdamW, or a plain step, on the server."""

    optimizer: str = option("adamw", "the server's rule", choices=("adamw", "sgd"))
    server_lr: float = option(5e-3, "server step size η_g", above=0)
    beta1: float = option(0.9, "memory β1 of the mean change (adamw)", at_least=0, below=1)
    beta2: float = option(0.999, "memory β2 of its square (adamw)", at_least=0, below=1)
    epsilon: float = option(1e-8, "ε, smallest scale that counts (adamw)", above=0)
    server_weight_decay: float = option(0.01, "decoupled weight decay λ (adamw)", at_least=0)

    def optimizer_state(self, x: Tensor) -> dict[str, Tensor]:
        """What the server's rule remembers, of a model ``x [d]``."""
        if self.optimizer == "sgd":
            return {}
        return {
            "m": torch.zeros_like(x),
            "v": torch.zeros_like(x),
            "updates": torch.zeros(1, dtype=torch.int64),
        }

    def stepped(self, server: State, change: Tensor) -> dict[str, Tensor]:
        """``x`` and what the rule remembers after a step along ``change [d]``, the negative of a gradient."""
        x = server["x"]
        if self.optimizer == "sgd":
            return {"x": x + self.server_lr * change}
        updates = server["updates"] + 1
        m = torch.lerp(server["m"], change, 1 - self.beta1)
        v = torch.lerp(server["v"], change.square(), 1 - self.beta2)
        first, second = (1 - beta ** int(updates) for beta in (self.beta1, self.beta2))
        scale = (v / second).sqrt() + self.epsilon
        x = (1 - self.server_lr * self.server_weight_decay) * x + self.server_lr / first * m / scale
        return {"x": x, "m": m, "v": v, "updates": updates}

    def measured(self, models: Tensor, layout: Layout) -> dict[str, Tensor]:
        """What the server records of the ``models [M, d]`` with which clients ended, as far as they sent them."""
        return {"@residual": torch.tensor(residual(models, layout), dtype=torch.float64)}
