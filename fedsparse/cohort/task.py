"""The oracle of C clients: local training and gradients, common to data sets and analytic problems."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from fedsparse.errors import ProtocolError
from fedsparse.protocol import Layout, Trained

__all__ = ["ClientTask"]


class ClientTask(ABC):
    """A :class:`~fedsparse.protocol.Task` but for the gradient itself.

    Attributes:
        ids: the clients ``[C]``.
        sizes: their examples ``[C]``.
        layout: tensors of the parameter vector.
        buffers: statistics ``[C, b]``: those to start from, and after training those it ended with.
        gradient_calls: minibatch gradients computed so far, ``[C]``.
        examples: examples that went through forward and backward so far, ``[C]``.
    """

    together = True

    def __init__(self, ids: Tensor, sizes: Tensor, layout: Layout, buffers: Tensor) -> None:
        self.ids, self.sizes, self.layout = ids, sizes, layout
        self.buffers = buffers.expand(len(ids), -1)
        self.gradient_calls = torch.zeros(len(ids), dtype=torch.int64)
        self.examples = torch.zeros(len(ids), dtype=torch.int64)

    @abstractmethod
    def _gradient(self, y: Tensor, stats: Tensor, rows: slice, step: int, out: Tensor) -> Tensor:
        """Minibatch gradients of the clients ``rows`` at ``y`` into ``out``; their losses; advances ``stats``."""

    @abstractmethod
    def full_grad(self, x: Tensor) -> Tensor:
        """Gradient over all of the client's examples, ``[C, d]``."""

    @abstractmethod
    def loss(self, x: Tensor) -> Tensor:
        """Loss over all of the client's examples, ``[C]``."""

    @abstractmethod
    def _steps(self, steps: int | None, epochs: int | None) -> Tensor:
        """Local steps of each client, ``[C]`` int64."""

    def sgd(
        self,
        x: Tensor,
        *,
        lr: float,
        steps: int | None = None,
        epochs: int | None = None,
        shift: Tensor | None = None,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        prox: float = 0.0,
        mask: Tensor | None = None,
        buffers: Tensor | None = None,
    ) -> Trained:
        """Local training; see :class:`~fedsparse.protocol.Task`."""
        if (steps is None) == (epochs is None):
            raise ProtocolError(f"task.sgd: give steps or epochs, one of them (steps={steps}, epochs={epochs})")
        clients, size = len(self.ids), x.shape[-1]
        x = x.expand(clients, size)
        y = x.clone() if mask is None else x * mask
        stats = (self.buffers if buffers is None else buffers).expand(clients, -1).clone()
        count = self._steps(steps, epochs)
        taken = count.clamp(min=1)[:, None].to(x.dtype)
        plain = not (momentum or weight_decay or prox) and mask is None
        mean_grad = torch.zeros_like(y) if not plain else torch.empty(0)
        losses = torch.zeros(clients, dtype=x.dtype)
        for rows in self._groups():
            ahead = None if shift is None else shift.expand(clients, size)[rows]
            velocity = torch.zeros_like(y[rows]) if momentum else None
            gradient = torch.empty_like(y[rows])
            for step in range(int(count[rows].max())):
                running = count[rows] > step
                loss = self._gradient(y[rows], stats[rows], rows, step, gradient)
                if not bool(running.all()):
                    gradient[~running] = 0
                losses[rows] += torch.where(running, loss, 0)
                if not plain:
                    mean_grad[rows] += gradient
                move = gradient
                if ahead is not None:
                    move = move.add_(ahead)
                if weight_decay:
                    move = move.add_(y[rows], alpha=weight_decay)
                if prox:
                    move = move.add_(y[rows] - x[rows], alpha=prox)
                if velocity is not None:
                    move = velocity.mul_(momentum).add_(move)
                if not bool(running.all()):
                    move = move * running[:, None]
                y[rows].add_(move, alpha=-lr)
                if mask is not None:
                    y[rows].mul_(mask.expand(clients, size)[rows])
        if plain:
            mean_grad = (x - y) / (taken * lr)
            mean_grad = mean_grad if shift is None else mean_grad - shift
        else:
            mean_grad = mean_grad / taken
        self.buffers = stats
        return Trained(y, count[:, None].to(x.dtype), mean_grad, losses / taken[:, 0], stats)

    def grad(self, x: Tensor, step: int = 0) -> Tensor:
        """Minibatch gradient ``[C, d]``; in training mode, so that statistics advance."""
        x = x.expand(len(self.ids), -1)
        stats = self.buffers.clone()
        out = torch.empty(x.shape, dtype=x.dtype)
        for rows in self._groups():
            self._gradient(x[rows], stats[rows], rows, step, out[rows])
        self.buffers = stats
        return out

    def _groups(self) -> Iterator[slice]:
        clients = len(self.ids)
        width = clients if self.together else 1
        return (slice(i, i + width) for i in range(0, clients, max(width, 1)))
