"""Sparse trainers: what keeps the models of clients, or their steps, sparse while they train, whatever the strategy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from fedsparse import rng
from fedsparse.cohort.rule import Rule
from fedsparse.cohort.task import ClientTask, Descent
from fedsparse.cohort.walk import Walk, lighten, points
from fedsparse.masks import Last, factors
from fedsparse.options import validate
from fedsparse.protocol import Field, Layout, Trained

__all__ = ["Gradient", "Masked", "Moment", "Stepped", "Trainer"]

Gradient = Callable[[Tensor], Tensor]
"""From a point ``[1, d]`` or ``[C, d]`` to the clients' minibatch gradients there, ``[C, d]``."""


@dataclass(frozen=True)
class Moment:
    """When clients train, and what.

    Attributes:
        seed: of the run.
        round: from 0.
        rounds: of the run.
        layout: of the model.
        start: the parameters ``[d]`` that the dense model begins with; every worker has them from the model itself.
        last: the mask that the worker made last.
    """

    seed: int
    round: int
    rounds: int
    layout: Layout
    start: Tensor
    last: Last[Tensor] = field(default_factory=Last, compare=False)

    def shared(self, purpose: str) -> Any:
        """One NumPy generator that all clients have alike this round."""
        return rng.stream(self.seed, f"trainer:{purpose}", self.round)


@dataclass(frozen=True)
class Trainer(ABC):
    """Base of all sparse trainers: how clients train and what is evaluated, for any strategy.

    A subclass is a frozen dataclass of options. What it does is a function of what the strategy gives, of the round, of
    the weights that the run begins with and of its seed, so it has nothing to remember and nothing to send.
    """

    def __post_init__(self) -> None:
        validate(self, "trainer.")

    def start(self, moment: Moment) -> Tensor:
        """The initial parameters ``[d]``."""
        return moment.start

    def model(self, x: Tensor, layout: Layout) -> Tensor:  # noqa: ARG002
        """The models ``[C, d]`` that are evaluated for the parameters ``x [C, d]`` of the strategy."""
        return x

    @abstractmethod
    def train(self, asked: Descent, task: ClientTask, moment: Moment) -> Trained:
        """Local training.

        Args:
            asked: what the strategy asked for; also a gradient is asked for as a step of no length.
            task: the clients' dense one.
            moment: when.
        """

    @abstractmethod
    def full_grad(self, x: Tensor, task: ClientTask, moment: Moment) -> Tensor:
        """The gradient over all examples, ``[C, d]``, that belongs to that training."""


@dataclass(frozen=True)
class Masked(Trainer):
    """Base of those with a mask that stays while a client trains; weights outside have no gradient.

    Attributes:
        frozen: whether weights outside keep the values that they have. Otherwise they are zero from the start of local
            training on, which is part of the change.
    """

    frozen: ClassVar[bool] = False

    @abstractmethod
    def mask(self, x: Tensor, moment: Moment, gradient: Gradient) -> Tensor | None:
        """Which weights there are, ``[1, d]`` or ``[C, d]`` bool; ``None``: all.

        Args:
            x: where training starts, ``[1, d]`` or ``[C, d]``.
            moment: when.
            gradient: the clients' gradient; whoever asks for it has computed one more.
        """

    def train(self, asked: Descent, task: ClientTask, moment: Moment) -> Trained:
        """Local training on the mask."""
        kept = self._kept(asked.x, moment, lambda point: _gradient_at(point, asked, task).mean_grad)
        if kept is None:
            return task._descend(asked)
        trained = task._descend(asked.moving(kept) if self.frozen else asked.masked(kept))
        return replace(
            trained,
            make_mean_grad=lambda less: trained.mean_grad * kept - (0 if less is None else less),
        )

    def full_grad(self, x: Tensor, task: ClientTask, moment: Moment) -> Tensor:
        """The gradient over all examples, on the mask."""
        kept = self._kept(x, moment, task.full_grad)
        if kept is None:
            return task.full_grad(x)
        return task.full_grad(x if self.frozen else x * kept) * kept

    def _kept(self, x: Tensor, moment: Moment, gradient: Gradient) -> Tensor | None:
        """The mask as 0 and 1. Where all clients of a round have the same, a worker makes it once."""
        key, asked = (self, moment.seed, moment.round), []

        def noted(point: Tensor) -> Tensor:
            asked.append(True)
            return gradient(point)

        known = moment.last.get(x, key) if len(x) == 1 else None
        if known is not None:
            return known
        mask = self.mask(x, moment, noted)
        if mask is None:
            return None
        kept = factors(mask, x.dtype)
        return kept if asked or len(x) > 1 else moment.last.put(x, kept, key)


@dataclass(frozen=True)
class Stepped(Trainer):
    """Base of those that change every single step: the strategy's local steps go another way than the gradient's.

    Attributes:
        elsewhere: whether gradients are taken at another point than where the clients are.
        by_output: whether ``point`` and ``redirect`` handle an output of a layer without the others. Then they may be
            given some outputs of a large layer at a time.
    """

    elsewhere: ClassVar[bool] = False
    by_output: ClassVar[bool] = False

    @abstractmethod
    def layers(self, layout: Layout) -> Sequence[Field]:
        """The tensors whose steps are changed."""

    def point(self, y: Tensor, layer: Field, out: Tensor) -> None:
        """Writes where clients take the gradient of a step, if it is ``elsewhere``.

        Args:
            y: where they are, ``[R, n]``.
            layer: the tensor.
            out: ``[R, n]``.
        """

    def moving(self, layer: Field, layout: Layout) -> int | None:  # noqa: ARG002
        """How many entries of a layer a step moves, those that :meth:`weigh` most; ``None``: all.

        Args:
            layer: the tensor.
            layout: of the model.
        """
        return None

    def weigh(self, gradient: Tensor, y: Tensor, out: Tensor) -> None:
        """Writes what entries of a layer weigh, at least 0, where not all move; of equal ones the first move.

        Args:
            gradient: of some clients and outputs, ``[R, n]``.
            y: where these clients are, ``[R, n]``, or ``[1, n]`` for all.
            out: ``[R, n]``.
        """

    def redirect(self, gradient: Tensor, y: Tensor, point: Tensor, layer: Field, layout: Layout) -> None:
        """Writes over the gradients of some clients, ``[R, n]``, what their step has instead.

        Args:
            gradient: that of the step's minibatch at ``point``.
            y: where these clients are, ``[R, n]``, or ``[1, n]`` for all.
            point: that of ``y``, likewise.
            layer: the tensor.
            layout: of the model.
        """

    def train(self, asked: Descent, task: ClientTask, moment: Moment) -> Trained:
        """Local training along those directions, of which the mean gradient is the mean."""
        losses = torch.zeros(len(asked.steps))
        walk = Walk(asked, self, moment.layout, lambda y: self._points(y, moment))
        longest = int(asked.steps.max())
        for step in range(longest):
            running, found = asked.steps > step, _gradient_at(walk.point, asked, task, step)
            asked = replace(asked, buffers=found.buffers)
            losses = losses + torch.where(running, found.loss, 0)
            walk.step(found, running, last=step == longest - 1)
        return walk.trained(losses, asked.buffers)

    def full_grad(self, x: Tensor, task: ClientTask, moment: Moment) -> Tensor:
        """The direction over all examples."""
        point = self._points(x, moment)
        # A problem's own formula may return what is not to be written to.
        found = task.full_grad(point).clone()
        for layer in self.layers(moment.layout):
            at = slice(None), layer.slice
            lighten(self, found[at], x[at], layer, moment.layout)
            self.redirect(found[at], x[at], point[at], layer, moment.layout)
        return found

    def _points(self, y: Tensor, moment: Moment) -> Tensor:
        """Where clients at ``y`` take their gradients; where all start alike, a worker finds it once."""
        if not self.elsewhere or len(y) > 1:
            return points(self, y, moment.layout)
        key = (self, moment.seed, moment.round)
        known = moment.last.get(y, key)
        return moment.last.put(y, points(self, y, moment.layout), key) if known is None else known


def _gradient_at(point: Tensor, asked: Descent, task: ClientTask, step: int = 0) -> Trained:
    """One step that goes nowhere, from ``point``: gradients of the minibatches of a step of what was asked for."""
    running = (asked.steps > step).to(asked.steps.dtype)
    return task._descend(
        Descent(Rule(0.0), point, running, 1, None, None, None, asked.buffers.clone(), asked.first + step)
    )
