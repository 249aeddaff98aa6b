"""Sparse trainers: what keeps the models of clients sparse while they train, whatever the strategy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from fedsparse import rng
from fedsparse.cohort.rule import Rule
from fedsparse.cohort.task import ClientTask, Descent
from fedsparse.options import validate
from fedsparse.protocol import Layout, Trained

__all__ = ["Gradient", "Masked", "Moment", "Trainer", "gradient_at"]

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
    """

    seed: int
    round: int
    rounds: int
    layout: Layout

    def shared(self, purpose: str) -> Any:
        """One NumPy generator that all clients have alike this round."""
        return rng.stream(self.seed, f"trainer:{purpose}", self.round)


@dataclass(frozen=True)
class Trainer(ABC):
    """Base of all sparse trainers: how clients train and what is evaluated, for any strategy.

    A subclass is a frozen dataclass of options. What it does is a function of what the strategy gives, of the round and
    of the run's seed, so it has nothing to remember and nothing to send.
    """

    def __post_init__(self) -> None:
        validate(self, "trainer.")

    def start(self, x: Tensor, moment: Moment) -> Tensor:  # noqa: ARG002
        """The initial parameters ``[d]`` from those of the dense model."""
        return x

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
    """Base of those with a mask that stays while a client trains.

    Weights outside are zero at the start of local training, so they are part of the change, and stay so; they have no
    gradient.
    """

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
        mask = self.mask(asked.x, moment, lambda point: gradient_at(point, asked, task).mean_grad)
        if mask is None:
            return task._descend(asked)
        kept = mask.to(asked.x.dtype)
        trained = task._descend(replace(asked, mask=kept if asked.mask is None else kept * asked.mask))
        return replace(
            trained,
            make_mean_grad=lambda less: trained.mean_grad * kept - (0 if less is None else less),
        )

    def full_grad(self, x: Tensor, task: ClientTask, moment: Moment) -> Tensor:
        """The gradient over all examples, on the mask."""
        mask = self.mask(x, moment, task.full_grad)
        return task.full_grad(x) if mask is None else task.full_grad(x * mask) * mask


def gradient_at(point: Tensor, asked: Descent, task: ClientTask, step: int = 0) -> Trained:
    """One step that goes nowhere, from ``point``: gradients of the minibatches of a step of what was asked for."""
    running = (asked.steps > step).to(asked.steps.dtype)
    return task._descend(
        Descent(Rule(0.0), point, running, 1, None, None, None, asked.buffers.clone(), asked.first + step)
    )
