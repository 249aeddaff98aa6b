"""Clients whose gradients are given by formulas, in float32 or float64, with or without noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fedsparse import rng
from fedsparse.cohort.calibration import Calibration
from fedsparse.cohort.task import ClientTask, Descent
from fedsparse.data.problem import Problem
from fedsparse.errors import ProtocolError
from fedsparse.lazy import cached_property
from fedsparse.protocol import Layout, Predict, Start, Trained

__all__ = ["AnalyticTask", "AnalyticWorkload"]


class AnalyticTask(ClientTask):
    """C clients of a :class:`Problem`."""

    def __init__(
        self,
        problem: Problem,
        layout: Layout,
        sizes: Tensor,
        ids: Tensor,
        seed: int,
        round: int,  # noqa: A002
    ) -> None:
        super().__init__(ids, sizes, layout, torch.zeros(1, 0))
        self._problem, self._name = problem, (seed, round)

    def _some(self, y: Tensor, step: int, running: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients and losses of those who take the step; zeros of the others."""
        gradient = _checked(
            self._problem.gradient(self.ids, y, self._draw(self.ids, str(step))), y, "gradient"
        )
        self.gradient_calls += running
        self.examples += self.sizes * running
        return torch.where(running[:, None], gradient, 0), torch.where(running, self._losses(self.ids, y), 0)

    def _descend(self, asked: Descent) -> Trained:
        shape = (len(self.ids), self.layout.size)
        x, taken = asked.x.expand(shape), asked.steps.clamp(min=1).to(asked.x.dtype)
        y = x.clone() if asked.mask is None else x * asked.mask
        velocity = torch.zeros_like(y) if asked.rule.momentum else None
        # Summed up, not found from x - y: that has lost the digits below those of x.
        gradients, losses = torch.zeros_like(y), torch.zeros(len(y), dtype=y.dtype)
        for step in range(int(asked.steps.max())):
            running = asked.steps > step
            gradient, loss = self._some(y, asked.first + step, running)
            losses += loss
            gradients += gradient
            asked.rule.move(y, gradient, velocity, running, x, asked.shifts, asked.moves)
        return Trained(
            asked.steps[:, None].to(y.dtype),
            losses / taken,
            asked.buffers,
            lambda: y,
            lambda: y - x,
            lambda less: gradients / taken[:, None] - (0 if less is None else less),
        )

    def _draw(self, ids: Tensor, step: str) -> rng.Streams:
        seed, round_ = self._name
        return rng.Streams(seed, f"batches:{step}", round_, ids.tolist())

    def _losses(self, ids: Tensor, x: Tensor) -> Tensor:
        known = getattr(self._problem, "loss", None)
        return torch.full((len(x),), float("nan"), dtype=x.dtype) if known is None else known(ids, x)

    def full_grad(self, x: Tensor) -> Tensor:
        """Gradient over all of the client's examples, ``[C, d]``."""
        x = x.expand(len(self.ids), -1)
        self.gradient_calls += 1
        self.examples += self.sizes
        whole = getattr(self._problem, "full_gradient", None)
        if whole is not None:
            return _checked(whole(self.ids, x), x, "full_gradient")
        return _checked(self._problem.gradient(self.ids, x, self._draw(self.ids, "full")), x, "gradient")

    def loss(self, x: Tensor, buffers: Tensor | None = None, step: int | None = None) -> Tensor:  # noqa: ARG002
        """Loss of each client, ``[C]``; NaN where the problem has none. There are no minibatches of it."""
        return self._losses(self.ids, x.expand(len(self.ids), -1))

    def accuracy(self, x: Tensor) -> Tensor:
        """NaN: there are no classes, ``[C]``."""
        return torch.full((len(self.ids),), float("nan"), dtype=x.dtype)

    def own_accuracy(self, model: Any, buffers: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """NaN: there are no examples, ``[C]``."""
        return torch.full((len(self.ids),), float("nan"))

    def statistics(self, x: Tensor, step: int) -> Tensor:  # noqa: ARG002
        """No statistics, ``[C, 0]``."""
        return x.new_zeros(len(self.ids), 0)

    def inputs(self, step: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """One input of no width, ``[C, 1, 0]``: there are no examples."""
        return torch.zeros(len(self.ids), 1, 0), torch.ones(len(self.ids), dtype=torch.int64)

    @property
    def optimum(self) -> Tensor:
        """The problem's optimum, ``[d]``; see :attr:`ClientTask.optimum`."""
        known: Tensor | None = getattr(self._problem, "optimum", None)
        return super().optimum if known is None else known

    def _steps(self, steps: int | None, epochs: int | None) -> Tensor:
        return torch.full((len(self.ids),), steps or epochs or 0, dtype=torch.int64)


def _checked(gradient: Tensor, x: Tensor, name: str) -> Tensor:
    if gradient.shape != x.shape or gradient.dtype != x.dtype:
        raise ProtocolError(
            f"problem.{name} returned {tuple(gradient.shape)} {gradient.dtype} for x {tuple(x.shape)} {x.dtype}; "
            "it must have the shape and dtype of x"
        )
    return gradient


class AnalyticWorkload:
    """Makes the tasks of a :class:`Problem`, and evaluates a model on it."""

    chunks = 1

    def __init__(self, problem: Problem) -> None:
        self.problem, self.clients = problem, int(problem.clients)
        shapes = getattr(problem, "shapes", None) or {"x": tuple(problem.start.shape)}
        # Formulas have no layers: all tensors may be pruned unless the problem says which.
        prunable = frozenset(getattr(problem, "prunable", shapes))
        self.start = Start(
            problem.start.detach().clone().flatten(), Layout.of(shapes, prunable), input_shape=(0,)
        )
        sizes = getattr(problem, "sizes", None)
        self._sizes = None if sizes is None else torch.as_tensor(sizes, dtype=torch.int64)

    @cached_property
    def total(self) -> int:
        """Examples of all clients together."""
        return self.clients if self._sizes is None else int(self._sizes.sum())

    @property
    def has_optimum(self) -> bool:
        """Whether the problem says where its optimum is."""
        return getattr(self.problem, "optimum", None) is not None

    @property
    def personal(self) -> bool:
        """Nobody has test examples."""
        return False

    @property
    def client_bytes(self) -> int:
        """Memory that a client takes while it trains, about."""
        return 4 * self.start.x.numel() * self.start.x.element_size()

    @property
    def notes(self) -> list[str]:
        """Nothing to say."""
        return []

    def sizes(self, ids: Tensor) -> Tensor:
        """Examples of the clients ``ids``, ``[C]``."""
        return torch.ones_like(ids) if self._sizes is None else self._sizes[ids]

    def task(self, ids: Tensor, seed: int, round: int, buffers: Tensor) -> AnalyticTask:  # noqa: A002
        """The task of the clients ``ids`` in ``round``."""
        del buffers
        return AnalyticTask(self.problem, self.start.layout, self.sizes(ids), ids, seed, round)

    def evaluate(self, x: Tensor, buffers: Tensor, chunk: int, predict: Predict) -> dict[str, float]:
        """The problem's own numbers for the model ``x [d]``."""
        del buffers, chunk, predict
        known = getattr(self.problem, "evaluate", None)
        return {} if known is None else {k: float(v) for k, v in known(x).items()}

    def minibatches(self, asked: Calibration) -> int:
        """There are no statistics."""
        del asked
        return 0

    def calibrated(
        self, x: Tensor, buffers: Tensor, asked: Calibration, minibatch: int, predict: Predict
    ) -> Tensor:
        """There are no statistics."""
        del x, asked, minibatch, predict
        return buffers

    @staticmethod
    def metrics(parts: list[Mapping[str, Any]]) -> dict[str, float]:
        """The evaluation from that of its chunks."""
        return dict(parts[0])
