"""Clients that hold examples of a data set and train a PyTorch module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedsparse.cohort.batched import Batched
from fedsparse.cohort.calibration import Calibration, mean_of
from fedsparse.cohort.descent import descend, together
from fedsparse.cohort.device import prepared
from fedsparse.cohort.examples import Examples
from fedsparse.cohort.loss import hits_of, loss_of, losses_of
from fedsparse.cohort.minibatches import Minibatches
from fedsparse.cohort.task import ClientTask, Descent
from fedsparse.data.validation import VALIDATION
from fedsparse.protocol import Predict, Trained

__all__ = ["Examples", "SupervisedTask", "SupervisedWorkload"]

Chosen = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From inputs ``[G, B, ...]``, real rows ``[G]`` and places in the block ``[G]`` to the models to use, ``[G, d]``."""

Measure = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From outputs ``[C, B, ...]``, targets and real rows ``[C]`` to a mean of each client, ``[C]``."""

_CHUNK = 1000
"""Examples of one evaluation call; fixed, so that sums of losses have one order."""


class SupervisedTask(ClientTask):
    """C clients of a data set.

    What a strategy gives and gets lies in the processor's memory; training itself may be elsewhere.
    """

    def __init__(
        self,
        workload: SupervisedWorkload,
        ids: Tensor,
        seed: int,
        round: int,  # noqa: A002
        buffers: Tensor,
    ) -> None:
        super().__init__(ids, workload.sizes(ids), workload.start.layout, buffers)
        self._base = self._model = workload.model
        self._first = workload.start.buffers
        self._device = workload.device
        self._batches = Minibatches(workload.examples, ids, seed, round, workload.batch, workload.device)
        self._tested = workload.examples.own_test
        self._tests = (workload.examples, ids, seed, round, workload.batch, workload.device, self._tested)
        self.gradient_calls, self.examples = self._batches.gradient_calls, self._batches.used
        self._step = 0

    def _merge(self, products: Tensor) -> None:
        self._model = self._base.merged(products)

    def _descend(self, asked: Descent) -> Trained:
        asked, groups = asked.on(self._device), list(self._batches.groups())
        if len(groups) == 1:
            return descend(self._model, asked, self._batches)
        return together([(at, descend(self._model, asked.of(at), part)) for at, part in groups])

    def _gradient_of(
        self, x: Tensor, stats: Tensor, inputs: Tensor, targets: Tensor, counts: Tensor, keys: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        here, moved = stats, stats.to(self._device)
        values = self._model.values(x.detach().to(self._device), moved)
        leaves = {f.name: values[f.name].requires_grad_() for f in self.layout}
        with torch.enable_grad():
            losses = losses_of(self._model.run(values, inputs, counts, keys), targets, counts)
            losses.sum().backward()  # type: ignore[no-untyped-call]
        out = x.new_empty(x.shape)
        for name, into in self.layout.split(out).items():
            gradient = leaves[name].grad
            if gradient is None:  # the output does not depend on it
                into.zero_()
            else:
                into.copy_(gradient)
        if moved is not here:
            here.copy_(moved)
        return out, losses.detach().to(x.device)

    def _keys(self, batches: Minibatches, purpose: str | int) -> list[int]:
        return batches.keys(purpose) if self._model.random else batches.no_keys

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """The minibatch of ``step``: inputs and targets ``[C, B, ...]``, real rows ``[C]``; counts as a gradient."""
        self._step = step
        inputs, targets, counts = self._batches.take(step)
        return inputs.cpu(), targets.cpu(), counts

    def forward(self, x: Tensor, inputs: Tensor, buffers: Tensor | None = None, train: bool = True) -> Tensor:
        """Outputs ``[C, B, ...]`` of the model at ``x [C, d]``, differentiable; dropout as in the last ``batch``."""
        stats = (self.buffers if buffers is None else buffers).expand(len(self.ids), -1)
        own, stats, there = (value.to(self._device) for value in (x.expand(len(self.ids), -1), stats, inputs))
        keys = self._keys(self._batches, self._step) if train else None
        return self._model.outputs(own, stats, there, keys).to(x.device)

    def statistics(self, x: Tensor, step: int) -> Tensor:
        """BatchNorm statistics ``[C, b]`` of the minibatch of ``step`` alone, at the parameters ``x``."""
        inputs, _, counts = self._batches.take(step, count=False)
        keys = self._keys(self._batches, step)
        own, first = (value.expand(len(self.ids), -1).to(self._device) for value in (x, self._first))
        return self._model.calibrated(own, first, inputs, counts, keys)[1].to(x.device)

    def full_grad(self, x: Tensor) -> Tensor:
        """Gradient over all of the client's examples, ``[C, d]``: mean of pieces weighted by their sizes."""
        x = x.expand(len(self.ids), -1)
        total = x.new_zeros(x.shape)
        for at, sweep, part in self._batches.sweeps():
            for piece, (inputs, targets, counts) in enumerate(sweep):
                keys, stats = self._keys(part, f"full:{piece}"), self.buffers[at].clone()
                found, _ = self._gradient_of(x[at], stats, inputs, targets, counts, keys)
                total[at] += found * self._share(at, counts).to(x)[:, None]
                self.examples[at] += counts
        self.gradient_calls += self.sizes.gt(0)
        return total

    def inputs(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs of the minibatch of ``step``, ``[C, B, ...]``, padded, and its real rows ``[C]``; not counted."""
        inputs, _, counts = self._batches.take(step, count=False)
        return inputs.cpu(), counts

    def loss(self, x: Tensor, buffers: Tensor | None = None, step: int | None = None) -> Tensor:
        """Loss in evaluation mode over all of the client's examples, or the minibatch of ``step``, ``[C]``."""
        if step is None:
            return self._over_all(losses_of, x, buffers)
        inputs, targets, counts = self._batches.take(step, count=False)
        return losses_of(self._evaluated(x, buffers, inputs, counts), targets, counts).to(x)

    def accuracy(self, x: Tensor) -> Tensor:
        """Share of the client's own targets that are predicted, ``[C]``; NaN where they are no classes."""
        return self._over_all(hits_of, x)

    def own_accuracy(self, model: Tensor | Chosen, buffers: Tensor | None = None) -> Tensor:
        """Share of the client's own test examples that are classified right, ``[C]``; NaN where it has none."""
        if self._tested is None:
            return torch.full((len(self.ids),), float("nan"))
        stats = (self.buffers if buffers is None else buffers).expand(len(self.ids), -1)
        right = torch.zeros(len(self.ids), dtype=torch.float64)
        asked = torch.zeros_like(right)
        for at, sweep, _ in Minibatches(*self._tests).sweeps():
            for inputs, targets, counts in sweep:
                x = model if isinstance(model, Tensor) else model(inputs.cpu(), counts, at)
                x = x.expand(len(self.ids), -1)[at] if isinstance(model, Tensor) else x
                out = self._outputs(x, stats[at], inputs, counts)
                right[at] += hits_of(out, targets, counts).cpu() * counts
                asked[at] += counts
        return (right / asked).to(torch.float32)

    def _over_all(self, measure: Measure, x: Tensor, buffers: Tensor | None = None) -> Tensor:
        """A mean over all of the client's examples in evaluation mode, ``[C]``."""
        total = x.new_zeros(len(self.ids))
        for at, sweep, _ in self._batches.sweeps():
            for inputs, targets, counts in sweep:
                out = self._evaluated(x, buffers, inputs, counts, at)
                total[at] += measure(out, targets, counts).to(x) * self._share(at, counts).to(x)
        return total

    def _evaluated(
        self,
        x: Tensor,
        buffers: Tensor | None,
        inputs: Tensor,
        counts: Tensor,
        at: Tensor | slice = slice(None),
    ) -> Tensor:
        """Outputs in evaluation mode for inputs of the clients at these places of the block."""
        stats = (self.buffers if buffers is None else buffers).expand(len(self.ids), -1)[at]
        return self._outputs(x.expand(len(self.ids), -1)[at], stats, inputs, counts)

    def _outputs(self, x: Tensor, stats: Tensor, inputs: Tensor, counts: Tensor) -> Tensor:
        values = self._model.values(x.to(self._device), stats.to(self._device))
        with torch.no_grad():
            return self._model.run(values, inputs, counts, None)

    def _share(self, at: Tensor, counts: Tensor) -> Tensor:
        """Counts of examples as shares of all that a client has."""
        return counts / self.sizes[at].clamp(min=1)

    def _steps(self, steps: int | None, epochs: int | None) -> Tensor:
        if epochs is None:
            return torch.where(self.sizes > 0, steps or 0, 0)
        return torch.where(self.sizes > 0, self._batches.per_epoch * epochs, 0)

    def _longest(self, steps: int | None, epochs: int | None) -> int:
        return steps or 0 if epochs is None else self._batches.longest_epoch * epochs


class SupervisedWorkload:
    """Makes the tasks of a data set, and evaluates a model on its test and validation part.

    Args:
        examples: the data set, and who holds what.
        module: the model with its initial weights; left alone.
        batch: examples of a minibatch, 0 for all.
        device: where clients train.
        own_models: whether clients have models of their own, as in gossip, even where these are alike.
    """

    has_optimum = False

    def __init__(
        self,
        examples: Examples,
        module: nn.Module,
        batch: int,
        device: str = "cpu",
        own_models: bool = False,
    ) -> None:
        self.examples, self.batch, self.device = examples, batch, prepared(device)
        self.clients, self.total = examples.clients, examples.total
        few = np.arange(min(6, len(examples.x)))
        self.model = Batched(module, examples.inputs(examples.x, few), self.device, own_models)
        self.start = self.model.start
        self._parts = {"": (examples.x_test, examples.y_test)}
        if examples.x_validation is not None and examples.y_validation is not None:
            self._parts[VALIDATION] = (examples.x_validation, examples.y_validation)
        self._pieces = [
            (prefix, piece) for prefix, (_, y) in self._parts.items() for piece in range(_pieces(y))
        ]

    @property
    def personal(self) -> bool:
        """Whether clients have test examples of their own."""
        return self.examples.own_test is not None

    @property
    def notes(self) -> list[str]:
        """What people should know about how the model is trained, a line each."""
        return self.model.notes

    @property
    def client_bytes(self) -> int:
        """Memory that a client takes while it trains, about."""
        return self.model.client_bytes(self.batch or max(1, self.total // self.clients))

    def sizes(self, ids: Tensor) -> Tensor:
        """Examples of the clients ``ids``, ``[C]``."""
        return self.examples.sizes(ids)

    def task(self, ids: Tensor, seed: int, round: int, buffers: Tensor) -> SupervisedTask:  # noqa: A002
        """The task of the clients ``ids`` in ``round``; statistics start from ``buffers``, ``[C, b]`` or ``[1, b]``."""
        return SupervisedTask(self, ids, seed, round, buffers)

    @property
    def chunks(self) -> int:
        """Calls that one evaluation takes."""
        return len(self._pieces)

    def evaluate(self, x: Tensor, buffers: Tensor, chunk: int, predict: Predict) -> dict[str, float]:
        """Sums over one piece of the test or validation part.

        Args:
            x: the model, as the strategy gives it.
            buffers: its statistics ``[b]``.
            chunk: which piece.
            predict: the strategy's way from a model to its outputs.
        """

        def forward(parameters: Tensor, inputs: Tensor) -> Tensor:
            own, model = self._of(parameters)
            return model.outputs(own[None], buffers[None], inputs[None])[0]

        x, buffers = x.to(self.device), buffers.to(self.device)
        prefix, piece = self._pieces[chunk]
        inputs, y = self._parts[prefix]
        at = np.arange(piece * _CHUNK, min((piece + 1) * _CHUNK, len(y)))
        targets = torch.from_numpy(np.asarray(y[at])).to(x.device)
        with torch.no_grad():
            out = predict(x, self.examples.inputs(inputs, at).to(x.device), forward)
            sums = {"loss": float(loss_of(out, targets, "sum")), "count": float(targets.numel())}
            if not targets.is_floating_point():
                sums["correct"] = float((out.argmax(-1) == targets).sum())
        return {prefix + name: value for name, value in sums.items()}

    def minibatches(self, asked: Calibration) -> int:
        """Calls that a calibration takes; 0 where the model has no BatchNorm statistics."""
        return asked.minibatches(self.total) if self.model.normed else 0

    def calibrated(
        self, x: Tensor, buffers: Tensor, asked: Calibration, minibatch: int, predict: Predict
    ) -> Tensor:
        """BatchNorm statistics ``[b]`` of one minibatch alone; arguments else as of :meth:`evaluate`.

        Where the strategy's way to outputs goes through the module more than once, their mean.
        """
        found: list[Tensor] = []
        x, buffers = x.to(self.device), buffers.to(self.device)

        def forward(parameters: Tensor, inputs: Tensor) -> Tensor:
            (own, model), counts = self._of(parameters), torch.tensor([len(inputs)])
            keys = [asked.key(minibatch)]
            out, statistics = model.calibrated(own[None], buffers[None], inputs[None], counts, keys)
            found.append(statistics[0])
            return out[0]

        with torch.no_grad():
            inputs, _ = self.examples.taken(asked.positions(self.examples, minibatch), x.device)
            predict(x, inputs, forward)
        return mean_of(found).cpu()

    def _of(self, parameters: Tensor) -> tuple[Tensor, Batched]:
        """The module's own parameters ``[d]`` in what is evaluated, and the model with what is merged into it."""
        own, products = self.start.layout.parted(parameters)
        return own, self.model.merged(products)

    @staticmethod
    def metrics(parts: list[Mapping[str, Any]]) -> dict[str, float]:
        """Mean loss and accuracy of each part from the sums of all its pieces."""
        found = {}
        for prefix in ("", VALIDATION):
            own = [p for p in parts if prefix + "count" in p]
            count = sum(p[prefix + "count"] for p in own)
            if not count:
                continue
            found[prefix + "loss"] = sum(p[prefix + "loss"] for p in own) / count
            if prefix + "correct" in own[0]:
                found[prefix + "accuracy"] = sum(p[prefix + "correct"] for p in own) / count
        return found


def _pieces(y: np.ndarray) -> int:
    """Calls that the evaluation of one part takes."""
    return max(1, -(-len(y) // _CHUNK))
