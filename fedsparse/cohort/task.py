"""The oracle of C clients: local training and gradients, common to data sets and analytic problems."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsparse.errors import ProtocolError
from fedsparse.protocol import Layout, Trained

__all__ = ["ClientTask"]


@dataclass(frozen=True)
class _Rule:
    """One step of local training for some clients; optional tensors are ``[C, d]``."""

    lr: float
    momentum: float
    weight_decay: float
    prox: float
    centre: Tensor
    shift: Tensor | None
    mask: Tensor | None

    def move(self, y: Tensor, gradient: Tensor, velocity: Tensor, running: Tensor) -> None:
        """Moves ``y`` in place where ``running [C]``; uses up ``gradient``, and advances ``velocity``."""
        if self.shift is not None:
            gradient.add_(self.shift)
        if self.weight_decay:
            gradient.add_(y, alpha=self.weight_decay)
        if self.prox:
            gradient.add_(y - self.centre, alpha=self.prox)
        if self.momentum:
            gradient = velocity.mul_(self.momentum).add_(gradient)
        if not bool(running.all()):
            gradient = torch.where(running[:, None], gradient, 0)
        y.add_(gradient, alpha=-self.lr)
        if self.mask is not None:
            y.mul_(self.mask)


class ClientTask(ABC):
    """A :class:`~fedsparse.protocol.Task` but for the gradient itself.

    Attributes:
        ids: the clients ``[C]``.
        sizes: their examples ``[C]``.
        layout: tensors of the parameter vector.
        buffers: statistics ``[C, b]``: those to start from, and after training those it ended with.
        gradient_calls: minibatch gradients computed so far, ``[C]``.
        examples: examples that went through forward and backward so far, ``[C]``.
        train_loss: mean minibatch loss of the last ``sgd`` or ``grad``, ``[C]``; NaN before.
    """

    together = True
    """Whether all clients take a step side by side, or one goes all its steps after the other."""

    def __init__(self, ids: Tensor, sizes: Tensor, layout: Layout, buffers: Tensor) -> None:
        self.ids, self.sizes, self.layout = ids, sizes, layout
        self.buffers = buffers.expand(len(ids), -1)
        self.gradient_calls = torch.zeros(len(ids), dtype=torch.int64)
        self.examples = torch.zeros(len(ids), dtype=torch.int64)
        self.train_loss = torch.full((len(ids),), float("nan"))

    @abstractmethod
    def _gradient(
        self, y: Tensor, stats: Tensor, rows: slice, step: int, running: Tensor, out: Tensor
    ) -> Tensor:
        """Minibatch gradients of the clients ``rows``.

        Args:
            y: their points, ``[R, d]``.
            stats: their statistics ``[R, b]``, advanced in place.
            rows: which clients.
            step: names the minibatch.
            running: who takes the step, ``[R]`` bool; the others' gradient and loss are zero, and are not counted.
            out: gets the gradients, ``[R, d]``.

        Returns:
            their losses, ``[R]``.
        """

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
        """Local training; see :class:`~fedsparse.protocol.Task`.

        Raises:
            ProtocolError: not just one of ``steps`` and ``epochs`` is given, or it is negative.
        """
        if (steps is None) == (epochs is None) or (steps or 0) < 0 or (epochs or 0) < 0:
            raise ProtocolError(
                f"task.sgd: give steps or epochs, one of them, at least 0 (steps={steps}, epochs={epochs})"
            )
        shape = (len(self.ids), x.shape[-1])
        x = x.expand(shape)
        y = x.clone() if mask is None else x * mask
        stats = (self.buffers if buffers is None else buffers).expand(len(self.ids), -1).clone()
        count = self._steps(steps, epochs)
        gradients, losses = torch.zeros_like(y), torch.zeros(len(y), dtype=y.dtype)
        for rows in self._groups():
            rule = _Rule(
                lr, momentum, weight_decay, prox, x[rows], _part(shift, shape, rows), _part(mask, shape, rows)
            )
            gradient = torch.empty_like(y[rows])
            velocity = torch.zeros_like(gradient) if momentum else gradient
            for step in range(int(count[rows].max())):
                running = count[rows] > step
                losses[rows] += self._gradient(y[rows], stats[rows], rows, step, running, gradient)
                # Summed up, not found from x - y: that has lost the digits below those of x.
                gradients[rows] += gradient
                rule.move(y[rows], gradient, velocity, running)
        taken = count.clamp(min=1).to(y.dtype)
        self.buffers, self.train_loss = stats, losses / taken
        return Trained(y, count[:, None].to(y.dtype), gradients / taken[:, None], self.train_loss, stats)

    def grad(self, x: Tensor, step: int = 0, slices: Sequence[slice] | None = None) -> Tensor:
        """Minibatch gradient ``[C, d]``, or those parts of it; in training mode, so that statistics advance."""
        clients = len(self.ids)
        x = x.expand(clients, -1)
        stats, losses = self.buffers.clone(), torch.empty(clients, dtype=x.dtype)
        out, running = torch.empty(x.shape, dtype=x.dtype), self._steps(1, None) > 0
        for rows in self._groups():
            losses[rows] = self._gradient(x[rows], stats[rows], rows, step, running[rows], out[rows])
        self.buffers, self.train_loss = stats, losses
        return out if slices is None else torch.cat([out[:, part] for part in slices], dim=1)

    def _groups(self) -> Iterator[slice]:
        clients = len(self.ids)
        width = clients if self.together else 1
        return (slice(i, i + width) for i in range(0, clients, max(width, 1)))


def _part(values: Tensor | None, shape: tuple[int, int], rows: slice) -> Tensor | None:
    return None if values is None else values.expand(shape)[rows]
