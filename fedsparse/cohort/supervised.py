"""Clients that hold examples of a data set and train a PyTorch module."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedsparse import rng
from fedsparse.cohort.batches import Batches
from fedsparse.cohort.looped import Looped, bind, layouts, loss_of, steady
from fedsparse.cohort.stacked import Stacked, chain
from fedsparse.cohort.task import ClientTask
from fedsparse.protocol import Predict, Start

__all__ = ["Examples", "SupervisedTask", "SupervisedWorkload"]

_CHUNK = 1000
"""Examples of one evaluation call; fixed, so that sums of losses have one order."""


@dataclass(frozen=True)
class Examples:
    """A data set and who holds what; arrays are shared, read-only, and possibly mapped from a file.

    Attributes:
        x: inputs ``[n, ...]``, uint8, float32 or int64 tokens.
        y: targets ``[n]`` or ``[n, t]``.
        x_test: test inputs.
        y_test: test targets.
        indices: examples of client i are ``indices[offsets[i] : offsets[i + 1]]``.
        offsets: ``[N + 1]``.
        scale: inputs that are not tokens become ``x * scale + shift``.
        shift: see ``scale``.
    """

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    indices: np.ndarray
    offsets: np.ndarray
    scale: float = 1.0
    shift: float = 0.0

    def sizes(self, ids: Tensor) -> Tensor:
        """Examples of the clients ``ids``, ``[C]`` int64."""
        at = ids.numpy()
        return torch.from_numpy(self.offsets[at + 1] - self.offsets[at])

    def inputs(self, x: np.ndarray, at: np.ndarray) -> Tensor:
        """Inputs at the positions ``at [...]`` of ``x``, ready for the model: ``[..., *shape]``."""
        taken = torch.from_numpy(np.asarray(x[at]))
        if taken.dtype == torch.int64:
            return taken
        taken = taken.to(torch.float32)
        return taken if self.scale == 1 and self.shift == 0 else taken.mul_(self.scale).add_(self.shift)


class SupervisedTask(ClientTask):
    """C clients of a data set."""

    def __init__(
        self,
        workload: SupervisedWorkload,
        ids: Tensor,
        seed: int,
        round: int,  # noqa: A002
        buffers: Tensor,
    ) -> None:
        super().__init__(ids, workload.sizes(ids), workload.start.layout, buffers)
        self._workload, self._name = workload, (seed, round)
        self._batches = Batches(seed, round, ids.tolist(), self.sizes.numpy(), workload.batch)
        self._step = 0
        self.together = workload.form.together

    def _gradient(
        self, y: Tensor, stats: Tensor, rows: slice, step: int, running: Tensor, out: Tensor
    ) -> Tensor:
        inputs, targets, counts = self._minibatch(rows, step)
        counts *= running
        self.gradient_calls[rows] += counts > 0
        self.examples[rows] += counts
        keys = self._keys(f"dropout:{step}", rows)
        return self._workload.form.gradient(y, stats, inputs, targets, counts, out, keys)

    def _keys(self, purpose: str, rows: slice = slice(None)) -> list[int]:
        """Seeds of the clients' dropout."""
        seed, round_ = self._name
        return [rng.seed64(seed, purpose, round_, int(i)) for i in self.ids[rows]]

    def _minibatch(self, rows: slice, step: int) -> tuple[Tensor, Tensor, Tensor]:
        clients = range(*rows.indices(len(self.ids)))
        chosen = [self._own(client)[self._batches.of(client, step)] for client in clients]
        return self._gather(chosen, self._batches.width)

    def _gather(self, chosen: Sequence[np.ndarray], width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs and targets ``[C, width, ...]`` at each client's positions, padded, and the real rows ``[C]``."""
        positions = np.zeros((len(chosen), width), dtype=np.int64)
        for row, own in zip(positions, chosen, strict=True):
            row[: len(own)] = own
        held = self._workload.examples
        counts = torch.tensor([len(own) for own in chosen], dtype=torch.int64)
        return held.inputs(held.x, positions), torch.from_numpy(held.y[positions]), counts

    def _own(self, client: int) -> np.ndarray:
        held, i = self._workload.examples, int(self.ids[client])
        return held.indices[held.offsets[i] : held.offsets[i + 1]]

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """The minibatch of ``step``: inputs ``[C, B, ...]``, targets ``[C, B, ...]``, real rows ``[C]``.

        Whoever takes one trains on it, so it counts as a gradient.
        """
        inputs, targets, counts = self._minibatch(slice(None), step)
        self.gradient_calls += counts > 0
        self.examples += counts
        self._step = step
        return inputs, targets, counts

    def forward(self, x: Tensor, inputs: Tensor, buffers: Tensor | None = None, train: bool = True) -> Tensor:
        """Differentiable outputs ``[C, B, classes]`` of the model at ``x [C, d]``; statistics are left alone.

        Dropout is that of the last ``batch``: the same at two points.
        """
        stats = (self.buffers if buffers is None else buffers).expand(len(self.ids), -1)
        keys = self._keys(f"dropout:{self._step}")
        return self._workload.outputs(x.expand(len(self.ids), -1), stats, inputs, keys if train else None)

    def statistics(self, x: Tensor, step: int) -> Tensor:
        """BatchNorm statistics ``[C, b]`` of the minibatch of ``step`` alone, at the parameters ``x``."""
        inputs, _, counts = self._minibatch(slice(None), step)
        return self._workload.statistics(x.expand(len(self.ids), -1), inputs, counts)

    def full_grad(self, x: Tensor) -> Tensor:
        """Gradient over all of the client's examples, ``[C, d]``: mean of pieces weighted by their sizes."""
        x = x.expand(len(self.ids), -1)
        total, part = torch.zeros_like(x), torch.empty_like(x)
        for piece, (inputs, targets, counts) in enumerate(self._sweep()):
            keys = self._keys(f"dropout:full:{piece}")
            self._workload.form.gradient(x, self.buffers.clone(), inputs, targets, counts, part, keys)
            total += part * (counts / self.sizes.clamp(min=1)).to(x.dtype)[:, None]
            self.examples += counts
        self.gradient_calls += self.sizes.gt(0)
        return total

    def loss(self, x: Tensor) -> Tensor:
        """Loss over all of the client's examples, ``[C]``, in evaluation mode."""
        x = x.expand(len(self.ids), -1)
        total = torch.zeros(len(x), dtype=x.dtype)
        with torch.no_grad():
            for inputs, targets, counts in self._sweep():
                for i, n in enumerate(counts.tolist()):
                    if n:
                        out = self._workload.outputs(
                            x[i : i + 1], self.buffers[i : i + 1], inputs[i : i + 1, :n]
                        )
                        total[i] += loss_of(out[0], targets[i, :n]) * (n / int(self.sizes[i]))
        return total

    def _sweep(self, width: int = 256) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """All examples, in pieces."""
        own = [self._own(client) for client in range(len(self.ids))]
        for first in range(0, max(map(len, own), default=0), width):
            yield self._gather([at[first : first + width] for at in own], width)

    def _steps(self, steps: int | None, epochs: int | None) -> Tensor:
        if epochs is None:
            return torch.where(self.sizes > 0, steps or 0, 0)
        return torch.from_numpy(self._batches.per_epoch * epochs)


class SupervisedWorkload:
    """Makes the tasks of a data set, and evaluates a model on its test part."""

    def __init__(self, examples: Examples, module: nn.Module, batch: int) -> None:
        """Args: who holds what; the model with its initial weights (left alone); examples of a minibatch, 0 for all."""
        self.examples, self.batch = examples, batch
        self.clients, self.total = len(examples.offsets) - 1, int(examples.offsets[-1])
        layout, buffers = layouts(module)
        named = dict(module.named_parameters()) | dict(module.named_buffers())
        flat = [named[f.name].detach().flatten() for f in layout]
        stats = [named[f.name].detach().flatten() for f in buffers]
        self.start = Start(torch.cat(flat), layout, torch.cat([*stats, torch.zeros(0)]), buffers)
        self._module, self._dropout = copy.deepcopy(module), torch.Generator()
        steady(self._module, self._dropout)
        layers = chain(module)
        classes = not np.issubdtype(examples.y.dtype, np.floating)
        self.form: Stacked | Looped = (
            Stacked(layers, layout)
            if layers and classes and examples.y.ndim == 1
            else Looped(copy.deepcopy(module), layout, buffers)
        )

    def sizes(self, ids: Tensor) -> Tensor:
        """Examples of the clients ``ids``, ``[C]``."""
        return self.examples.sizes(ids)

    def task(self, ids: Tensor, seed: int, round: int, buffers: Tensor) -> SupervisedTask:  # noqa: A002
        """The task of the clients ``ids`` in ``round``; statistics start from ``buffers``, ``[C, b]`` or ``[1, b]``."""
        return SupervisedTask(self, ids, seed, round, buffers)

    def outputs(self, x: Tensor, stats: Tensor, inputs: Tensor, keys: Sequence[int] | None = None) -> Tensor:
        """Outputs ``[C, B, ...]`` for ``x [C, d]``, differentiable in ``x``; ``stats [C, b]`` are not advanced.

        In training mode with ``keys``, which seed each client's dropout; without, in evaluation mode.
        """
        self._module.train(keys is not None)
        rows = []
        for i in range(len(x)):
            if keys is not None:
                self._dropout.manual_seed(keys[i])
            values = self.start.layout.split(x[i]) | self.start.buffer_layout.split(stats[i].clone())
            shaped = {
                f.name: values[f.name].view(f.shape) for f in (*self.start.layout, *self.start.buffer_layout)
            }
            rows.append(torch.func.functional_call(self._module, shaped, (inputs[i],)))
        return torch.stack(rows)

    def statistics(self, x: Tensor, inputs: Tensor, counts: Tensor) -> Tensor:
        """BatchNorm statistics ``[C, b]`` of these inputs alone."""
        norms = [m for m in self._module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        momenta = [m.momentum for m in norms]
        rows = self.start.buffers.repeat(len(x), 1)
        try:
            for norm in norms:
                norm.momentum = 1.0
            self._module.train()
            with torch.no_grad():
                for i, n in enumerate(counts.tolist()):
                    if n:
                        bind(self._module, self.start.layout, x[i].detach())
                        bind(self._module, self.start.buffer_layout, rows[i])
                        self._module(inputs[i, :n])
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
        return rows

    @property
    def chunks(self) -> int:
        """Calls that one evaluation takes."""
        return max(1, -(-len(self.examples.y_test) // _CHUNK))

    def evaluate(self, x: Tensor, buffers: Tensor, chunk: int, predict: Predict) -> dict[str, float]:
        """Sums over one piece of the test part.

        Args:
            x: the model, as the strategy gives it.
            buffers: its statistics ``[b]``.
            chunk: which piece.
            predict: the strategy's way from a model to its outputs.
        """

        def forward(parameters: Tensor, inputs: Tensor) -> Tensor:
            return self.outputs(parameters[None], buffers[None], inputs[None])[0]

        held = self.examples
        at = np.arange(chunk * _CHUNK, min((chunk + 1) * _CHUNK, len(held.y_test)))
        targets = torch.from_numpy(np.asarray(held.y_test[at]))
        with torch.no_grad():
            out = predict(x, held.inputs(held.x_test, at), forward)
            sums = {"loss": float(loss_of(out, targets, "sum")), "count": float(targets.numel())}
            if not targets.is_floating_point():
                sums["correct"] = float((out.argmax(-1) == targets).sum())
        return sums

    @staticmethod
    def metrics(parts: list[Mapping[str, Any]]) -> dict[str, float]:
        """Mean test loss and accuracy from the sums of all pieces."""
        count = sum(p["count"] for p in parts)
        if not count:
            return {}
        found = {"loss": sum(p["loss"] for p in parts) / count}
        if "correct" in parts[0]:
            found["accuracy"] = sum(p["correct"] for p in parts) / count
        return found
