"""The oracle of C clients: local training and gradients, common to data sets and analytic problems."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fedsparse.cohort.calibration import mean_of
from fedsparse.cohort.device import on
from fedsparse.cohort.rule import Rule
from fedsparse.errors import ProtocolError
from fedsparse.lazy import cached_property
from fedsparse.protocol import Layout, Trained

__all__ = ["ClientTask", "Descent"]


_NO_EXAMPLES = (
    "task.{}: this problem is given by formulas and has no examples; use a data set, such as data=digits"
)


@dataclass(frozen=True)
class Descent:
    """What local training was asked for.

    Attributes:
        rule: of the steps.
        x: where it starts, ``[1, d]`` or ``[C, d]``.
        steps: of each client, ``[C]`` int64.
        longest: most steps that any client of the population may take; whom else a block has must not show in a bit.
        shift: added to every gradient, ``[1, d]`` or ``[C, d]``.
        control: subtracted from it, likewise.
        mask: 0/1, likewise; what is outside is zero.
        buffers: statistics at the start, ``[C, b]``; to be advanced in place.
        first: number of the first step, which names its minibatch.
        free: 0/1, likewise; what is outside stays as it is.
    """

    rule: Rule
    x: Tensor
    steps: Tensor
    longest: int
    shift: Tensor | None
    control: Tensor | None
    mask: Tensor | None
    buffers: Tensor
    first: int = 0
    free: Tensor | None = None

    @cached_property
    def moves(self) -> Tensor | None:
        """0/1, ``[1, d]`` or ``[C, d]``: what steps may change; ``None``: everything."""
        return _both(self.mask, self.free)

    def masked(self, mask: Tensor) -> Descent:
        """The same where what is outside of ``mask``, too, is zero."""
        return replace(self, mask=_both(self.mask, mask))

    def moving(self, free: Tensor) -> Descent:
        """The same where what is outside of ``free``, too, stays as it is."""
        return replace(self, free=_both(self.free, free))

    @property
    def shifts(self) -> list[tuple[float, Tensor]]:
        """Factors, and what they add to every gradient."""
        return [(f, v) for f, v in ((1.0, self.shift), (-1.0, self.control)) if v is not None]

    def on(self, device: torch.device) -> Descent:
        """The same with its tensors on ``device``; the numbers of steps stay with the processor."""
        if device.type == "cpu":
            return self
        moved = {
            name: None if value is None else on(device, value)
            for name in ("x", "shift", "control", "mask", "buffers", "free")
            for value in (getattr(self, name),)
        }
        return replace(self, **moved)  # type: ignore[arg-type]

    def of(self, at: Tensor) -> Descent:
        """The part of the clients at these places of the block."""

        def rows(value: Tensor | None) -> Any:
            return value if value is None or len(value) == 1 else value[at]

        return Descent(
            self.rule,
            rows(self.x),
            self.steps[at],
            self.longest,
            rows(self.shift),
            rows(self.control),
            rows(self.mask),
            self.buffers[at],
            self.first,
            rows(self.free),
        )


def _both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one * other


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

    def __init__(self, ids: Tensor, sizes: Tensor, layout: Layout, buffers: Tensor) -> None:
        self.ids, self.sizes, self.layout = ids, sizes, layout
        self.buffers = buffers.expand(len(ids), -1)
        self.gradient_calls = torch.zeros(len(ids), dtype=torch.int64)
        self.examples = torch.zeros(len(ids), dtype=torch.int64)
        self.train_loss = torch.full((len(ids),), float("nan"))

    @abstractmethod
    def _descend(self, asked: Descent) -> Trained:
        """Local training."""

    @abstractmethod
    def full_grad(self, x: Tensor) -> Tensor:
        """Gradient over all of the client's examples, ``[C, d]``."""

    @abstractmethod
    def loss(self, x: Tensor, buffers: Tensor | None = None, step: int | None = None) -> Tensor:
        """Loss over all of the client's examples, or the minibatch of ``step``, ``[C]``."""

    @abstractmethod
    def accuracy(self, x: Tensor) -> Tensor:
        """Share of the client's examples that are classified right, ``[C]``."""

    @abstractmethod
    def own_accuracy(self, model: Any, buffers: Tensor | None = None) -> Tensor:
        """Share of the client's own test examples that are classified right, ``[C]``; NaN where it has none."""

    @abstractmethod
    def statistics(self, x: Tensor, step: int) -> Tensor:
        """BatchNorm statistics ``[C, b]`` of the minibatch of ``step`` alone."""

    def calibrate(self, x: Tensor, steps: int) -> None:
        """Puts the means of :meth:`statistics` over ``steps`` minibatches in the place of the statistics."""
        if self.buffers.shape[1]:
            self.buffers = mean_of(self.statistics(x, step) for step in range(steps))

    def merge(self, products: Tensor) -> None:
        """Merges something into the frozen weights; see :class:`~fedsparse.protocol.Task`.

        Raises:
            ProtocolError: it is not as long as the adapters' products, or there are no frozen weights.
        """
        size = self.layout.products.size
        if products.numel() != size or products.shape[-1] != size:
            raise ProtocolError(
                f"task.merge: products have shape {tuple(products.shape)}; they must be [{size}] or [1, {size}], one "
                "number for each frozen weight of the layers with adapters"
            )
        if size:
            self._merge(products.flatten())

    def _merge(self, products: Tensor) -> None:
        """Merges ``products [f]``, f > 0."""
        del products
        raise ProtocolError("task.merge: this problem has adapters and no frozen weights; use model=lora")

    @abstractmethod
    def inputs(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs of the minibatch of ``step``, ``[C, B, ...]``, and its real rows ``[C]``."""

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """The minibatch of ``step``: inputs and targets ``[C, B, ...]``, real rows ``[C]``.

        Raises:
            ProtocolError: there are no examples.
        """
        del step
        raise ProtocolError(_NO_EXAMPLES.format("batch"))

    def forward(self, x: Tensor, inputs: Tensor, buffers: Tensor | None = None, train: bool = True) -> Tensor:
        """Outputs of the model ``[C, B, ...]``, differentiable in ``x``.

        Raises:
            ProtocolError: there is no model, or a trainer stands between.
        """
        del x, inputs, buffers, train
        raise ProtocolError(_NO_EXAMPLES.format("forward"))

    @property
    def optimum(self) -> Tensor:
        """The minimiser of the mean of all clients' losses, ``[d]``.

        Raises:
            ProtocolError: it is not known.
        """
        raise ProtocolError(
            "task.optimum: this problem's optimum is not known; a strategy that uses it declares needs_optimum = True, "
            "and is refused before the first round"
        )

    @abstractmethod
    def _steps(self, steps: int | None, epochs: int | None) -> Tensor:
        """Local steps of each client, ``[C]`` int64."""

    def _longest(self, steps: int | None, epochs: int | None) -> int:
        """Most local steps that any client of the population takes."""
        return steps or epochs or 0

    def sgd(
        self,
        x: Tensor,
        *,
        lr: float,
        steps: int | None = None,
        epochs: int | None = None,
        shift: Tensor | None = None,
        control: Tensor | None = None,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        prox: float = 0.0,
        mask: Tensor | None = None,
        buffers: Tensor | None = None,
        first: int = 0,
    ) -> Trained:
        """Local training; see :class:`~fedsparse.protocol.Task`.

        Raises:
            ProtocolError: not just one of ``steps`` and ``epochs`` is given, it is negative, or a tensor has a shape
                that does not fit.
        """
        if (steps is None) == (epochs is None) or (steps or 0) < 0 or (epochs or 0) < 0:
            raise ProtocolError(
                f"task.sgd: give steps or epochs, one of them, at least 0 (steps={steps}, epochs={epochs})"
            )
        given = {"x": x, "shift": shift, "control": control, "mask": mask}
        shaped = {name: self._fitting(name, value) for name, value in given.items() if value is not None}
        asked = Descent(
            Rule(lr, momentum, weight_decay, prox),
            shaped["x"],
            self._steps(steps, epochs),
            self._longest(steps, epochs),
            shaped.get("shift"),
            shaped.get("control"),
            shaped.get("mask"),
            (self.buffers if buffers is None else buffers).expand(len(self.ids), -1).clone(),
            first,
        )
        trained = self._descend(asked)
        self.buffers, self.train_loss = trained.buffers, trained.loss
        return trained

    def _fitting(self, name: str, value: Tensor) -> Tensor:
        size = self.layout.size
        value = value.expand(1, -1) if value.dim() == 1 else value
        if value.dim() != 2 or value.shape[1] != size or len(value) not in (1, len(self.ids)):
            raise ProtocolError(
                f"task: {name} has shape {tuple(value.shape)}; it must be [1, {size}], or a row for each client, "
                f"[{len(self.ids)}, {size}]"
            )
        return value

    def grad(
        self,
        x: Tensor,
        step: int = 0,
        slices: Sequence[slice] | None = None,
        less: Tensor | None = None,
    ) -> Tensor:
        """Minibatch gradient ``[C, d]``, or those parts of it; in training mode, so that statistics advance."""
        # One step that goes nowhere: what trains clients side by side knows how to do this.
        taken, point = self._steps(1, None), self._fitting("x", x)
        asked = Descent(Rule(0.0), point, taken, 1, None, None, None, self.buffers.clone(), first=step)
        trained = self._descend(asked)
        self.buffers, self.train_loss = trained.buffers, trained.loss
        out = trained.mean_grad if less is None else trained.mean_grad_less(self._fitting("less", less))
        return out if slices is None else torch.cat([out[:, part] for part in slices], dim=1)
