"""Tasks and workloads whose clients train by a sparse trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fedsparse.cohort.calibration import Calibration
from fedsparse.cohort.task import ClientTask, Descent
from fedsparse.cohort.trainer import Moment, Trainer
from fedsparse.engine.block import Workload
from fedsparse.errors import ProtocolError
from fedsparse.masks import layers_of
from fedsparse.protocol import Predict, Trained

__all__ = ["SparseTask", "SparseWorkload"]


class SparseTask(ClientTask):
    """C clients of another task, trained by a sparse trainer.

    Args:
        dense: the clients' task; it counts what is computed.
        trainer: how they train.
        moment: when.
    """

    def __init__(self, dense: ClientTask, trainer: Trainer, moment: Moment) -> None:
        super().__init__(dense.ids, dense.sizes, dense.layout, dense.buffers)
        self._inner, self._trainer, self._moment = dense, trainer, moment
        # The same tensors: the other task writes to them.
        self.gradient_calls, self.examples = dense.gradient_calls, dense.examples

    @property
    def _dense(self) -> ClientTask:
        """The other task, with the statistics that training has come to."""
        self._inner.buffers = self.buffers
        return self._inner

    def _model(self, x: Tensor) -> Tensor:
        return self._trainer.model(self._fitting("x", x), self.layout)

    def _descend(self, asked: Descent) -> Trained:
        return self._trainer.train(asked, self._dense, self._moment)

    def full_grad(self, x: Tensor) -> Tensor:
        """Gradient over all of the client's examples, ``[C, d]``, on the trainer's mask."""
        return self._trainer.full_grad(self._fitting("x", x), self._dense, self._moment)

    def loss(self, x: Tensor, buffers: Tensor | None = None, step: int | None = None) -> Tensor:
        """Loss of the sparse model over all of the client's examples, or the minibatch of ``step``, ``[C]``."""
        return self._dense.loss(self._model(x), buffers, step)

    def accuracy(self, x: Tensor) -> Tensor:
        """Share of the client's examples that the sparse model classifies right, ``[C]``."""
        return self._dense.accuracy(self._model(x))

    def own_accuracy(self, model: Any, buffers: Tensor | None = None) -> Tensor:
        """Share of the client's own test examples that the sparse model classifies right, ``[C]``."""
        if isinstance(model, Tensor):
            return self._dense.own_accuracy(self._model(model), buffers)
        return self._dense.own_accuracy(
            lambda *given: self._trainer.model(model(*given), self.layout), buffers
        )

    def statistics(self, x: Tensor, step: int) -> Tensor:
        """BatchNorm statistics ``[C, b]`` of the minibatch of ``step`` alone, in the sparse model."""
        return self._dense.statistics(self._model(x), step)

    def _merge(self, products: Tensor) -> None:
        self._inner.merge(products)

    def inputs(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs of the minibatch of ``step``, ``[C, B, ...]``, and its real rows ``[C]``."""
        return self._inner.inputs(step)

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """The minibatch of ``step``: inputs and targets ``[C, B, ...]``, real rows ``[C]``."""
        return self._inner.batch(step)

    def forward(self, x: Tensor, inputs: Tensor, buffers: Tensor | None = None, train: bool = True) -> Tensor:
        """Not there: steps that a strategy takes by itself would go past the trainer."""
        del x, inputs, buffers, train
        raise ProtocolError(
            "task.forward: with a trainer clients train by task.sgd and task.grad, which keep models sparse; this "
            "strategy has a loss of its own, so leave trainer out"
        )

    @property
    def optimum(self) -> Tensor:
        """That of the dense problem."""
        return self._inner.optimum

    def _steps(self, steps: int | None, epochs: int | None) -> Tensor:
        return self._inner._steps(steps, epochs)

    def _longest(self, steps: int | None, epochs: int | None) -> int:
        return self._inner._longest(steps, epochs)


class SparseWorkload:
    """A :class:`~fedsparse.engine.block.Workload` whose clients train by a sparse trainer.

    Args:
        dense: makes the tasks, and evaluates.
        trainer: how clients train.
        seed: of the run.
        rounds: of the run.
    """

    def __init__(self, dense: Workload, trainer: Trainer, seed: int, rounds: int) -> None:
        self._dense, self._trainer = dense, trainer
        self.clients = dense.clients
        self._first = Moment(seed, 0, rounds, dense.start.layout, dense.start.x)
        layers_of(dense.start.layout)  # refuses a model that has none
        self.start = replace(dense.start, x=trainer.start(self._first))

    @property
    def has_optimum(self) -> bool:
        """As without the trainer."""
        return self._dense.has_optimum

    @property
    def total(self) -> int:
        """As without the trainer."""
        return self._dense.total

    @property
    def personal(self) -> bool:
        """As without the trainer."""
        return self._dense.personal

    @property
    def chunks(self) -> int:
        """As without the trainer."""
        return self._dense.chunks

    @property
    def client_bytes(self) -> int:
        """As without the trainer."""
        return self._dense.client_bytes

    @property
    def notes(self) -> list[str]:
        """As without the trainer."""
        return self._dense.notes

    def sizes(self, ids: Tensor) -> Tensor:
        """Examples of the clients ``ids``, ``[C]``."""
        return self._dense.sizes(ids)

    def task(self, ids: Tensor, seed: int, round: int, buffers: Tensor) -> SparseTask:  # noqa: A002
        """The task of the clients ``ids`` in ``round``."""
        dense = self._dense.task(ids, seed, round, buffers)
        return SparseTask(dense, self._trainer, replace(self._first, seed=seed, round=round))

    def evaluate(self, x: Tensor, buffers: Tensor, chunk: int, predict: Predict) -> dict[str, float]:
        """Sums over one piece of the evaluation of the sparse model."""
        return self._dense.evaluate(self._sparse(x), buffers, chunk, predict)

    def minibatches(self, asked: Calibration) -> int:
        """As without the trainer."""
        return self._dense.minibatches(asked)

    def calibrated(
        self, x: Tensor, buffers: Tensor, asked: Calibration, minibatch: int, predict: Predict
    ) -> Tensor:
        """BatchNorm statistics ``[b]`` of one minibatch alone, in the sparse model."""
        return self._dense.calibrated(self._sparse(x), buffers, asked, minibatch, predict)

    def _sparse(self, x: Tensor) -> Tensor:
        own, products = self.start.layout.parted(x)
        return torch.cat([self._trainer.model(own[None], self.start.layout)[0], products])

    def metrics(self, parts: list[Mapping[str, Any]]) -> dict[str, float]:
        """The evaluation from its pieces."""
        return self._dense.metrics(parts)
