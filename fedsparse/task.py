"""What clients optimise, as a strategy sees it, and what local training gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from fedsparse.layout import Field, Layout
from fedsparse.lazy import cached_property

__all__ = ["Task", "Trained"]


@dataclass(frozen=True)
class Trained:
    """The result of local training. What is ``[C, d]`` is made when it is first asked for: ask for what you need.

    It is the caller's, who may write to it when nothing else will be asked for.

    Attributes:
        steps: local steps that each client took, ``[C, 1]`` in the dtype of the parameters.
        loss: mean minibatch loss over the steps, ``[C]``.
        buffers: final statistics ``[C, b]``.
        make_x: gives :attr:`x`.
        make_change: gives :attr:`change`.
        make_mean_grad: gives :attr:`mean_grad`, less what it is given.
        make_part: writes a part of it; ``None``: by way of all of it.
        make_rows: gives that of one client and tensor some rows at a time, so many entries more or less, or ``None``
            where there is no such way; ``None``: there is none for any.
    """

    steps: Tensor
    loss: Tensor
    buffers: Tensor
    make_x: Callable[[], Tensor] = field(repr=False)
    make_change: Callable[[], Tensor] = field(repr=False)
    make_mean_grad: Callable[[Tensor | None], Tensor] = field(repr=False)
    make_part: Callable[[Tensor, slice, Field], None] | None = field(default=None, repr=False)
    make_rows: Callable[[int, Field, int], Iterator[tuple[slice, Tensor]] | None] | None = field(
        default=None, repr=False
    )

    @cached_property
    def x(self) -> Tensor:
        """Final parameters, ``[C, d]``."""
        return self.make_x()

    @cached_property
    def change(self) -> Tensor:
        """Final minus first parameters, ``[C, d]``: cheaper than the parameters, and with the digits they lose."""
        return self.make_change()

    @cached_property
    def mean_grad(self) -> Tensor:
        """Mean over the steps of the minibatch gradients of the loss, ``[C, d]``: without shift, momentum, decay, prox.

        Equal to -change / (steps lr) - shift + control where none of the latter three is used.
        """
        return self.make_mean_grad(None)

    def mean_grad_less(self, known: Tensor) -> Tensor:
        """``mean_grad - known``, ``[C, d]``, where the former alone is not needed: it saves a pass over memory.

        Args:
            known: ``[C, d]`` or ``[1, d]``.
        """
        return self.make_mean_grad(known)

    def write_mean_grad(self, into: Tensor, rows: slice, field: Field) -> None:
        """Writes :attr:`mean_grad` of one tensor and the clients ``rows`` to ``into [R, n]``."""
        if self.make_part is None:
            into.copy_(self.mean_grad[rows, field.slice])
        else:
            self.make_part(into, rows, field)

    def mean_grad_in_parts(self, client: int, field: Field, entries: int) -> Iterator[tuple[slice, Tensor]]:
        """:attr:`mean_grad` of one client and tensor, in parts that whoever uses them up may find in cache.

        Args:
            client: its place.
            field: the tensor.
            entries: of a part, more or less, if there is more than one.

        Returns:
            Which entries of the tensor, and theirs, ``[1, n]``, to be written to. A part is whole rows of a matrix.
        """
        found = None if self.make_rows is None else self.make_rows(client, field, entries)
        if found is None:
            whole = self.steps.new_empty(1, field.size)
            self.write_mean_grad(whole, slice(client, client + 1), field)
            yield slice(field.size), whole
            return
        for rows, part in found:
            width = part.shape[2]
            yield slice((rows.start or 0) * width, rows.stop * width), part.view(1, -1)


class Task(Protocol):
    """What C clients optimise. ``x`` is ``[C, d]``, or ``[1, d]`` for the same point on all of them.

    A task is bound to one round: the same ``step`` gives the same minibatch at two points, and a new one next round.
    """

    layout: Layout
    sizes: Tensor
    """Examples of each client, ``[C]`` int64."""
    examples: Tensor
    """Examples that each client has trained on so far, ``[C]`` int64."""

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
        """Local training, ``y <- y - lr (m <- momentum m + g(y) + shift - control + weight_decay y + prox (y - x))``.

        Args:
            x: where it starts.
            lr: step size.
            steps: local steps of every client; give this or ``epochs``.
            epochs: passes over each client's own examples, hence unequal steps.
            shift: added to every gradient, ``[C, d]`` or ``[1, d]``; one row for all costs next to nothing.
            control: subtracted from every gradient, likewise: a client's control variate.
            momentum: heavy-ball weight, starting from zero.
            weight_decay: L2 penalty.
            prox: weight of the pull back to ``x``.
            mask: 0/1, ``[C, d]`` or ``[1, d]``: entries outside, and their velocity, stay exactly zero.
            buffers: statistics to start from, ``[C, b]``; by default those the engine keeps.
            first: number of the first step, which names its minibatch.
        """

    def grad(
        self,
        x: Tensor,
        step: int = 0,
        slices: Sequence[slice] | None = None,
        less: Tensor | None = None,
    ) -> Tensor:
        """Minibatch gradient ``[C, d]`` (of a saddle problem: its operator), which the caller may write to.

        Args:
            x: where.
            step: names the minibatch.
            slices: only these parts of it, one behind the other, e.g. ``[layout["fc.weight"].slice]``.
            less: is taken off the gradient, ``[C, d]`` or ``[1, d]``: cheaper here than afterwards.
        """

    def full_grad(self, x: Tensor) -> Tensor:
        """Gradient over all of the client's examples, ``[C, d]``."""

    def loss(self, x: Tensor, buffers: Tensor | None = None, step: int | None = None) -> Tensor:
        """Loss in evaluation mode over all of the client's examples, or over the minibatch of ``step``, ``[C]``.

        Args:
            x: where.
            buffers: BatchNorm statistics, ``[C, b]`` or ``[1, b]``; by default those the engine keeps.
            step: names the minibatch.
        """

    def accuracy(self, x: Tensor) -> Tensor:
        """Share of the client's own examples that are classified right in evaluation mode, ``[C]``; NaN: no classes."""

    def own_accuracy(
        self, model: Tensor | Callable[[Tensor, Tensor, Tensor], Tensor], buffers: Tensor | None = None
    ) -> Tensor:
        """Share of each client's own test examples that are classified right, ``[C]``; NaN where it has none.

        Args:
            model: ``[C, d]`` or ``[1, d]``; or a function that gives it for inputs ``[G, B, ...]``, their real rows
                ``[G]`` and the clients' places in the block ``[G]``, as gates do.
            buffers: BatchNorm statistics, ``[C, b]`` or ``[1, b]``; by default those the engine keeps.
        """

    def statistics(self, x: Tensor, step: int) -> Tensor:
        """BatchNorm statistics ``[C, b]`` of the minibatch of ``step`` alone; of no width where there are none."""

    def calibrate(self, x: Tensor, steps: int) -> None:
        """Puts BatchNorm statistics at ``x`` in the place of those the engine keeps: means over ``steps`` minibatches.

        Args:
            x: where; a mean of models, say, whose statistics are not the mean of theirs.
            steps: minibatches, those of steps 0 to ``steps`` - 1.
        """

    def merge(self, products: Tensor) -> None:
        """Merges something into the frozen weights of layers with adapters, for all that is asked for afterwards.

        W h + (alpha / r) B A h becomes (W + (alpha / r) P) h + (alpha / r) B A h. P is the same for all clients, so it
        is held once. What was merged before is forgotten.

        Args:
            products: P of all layers in the order of ``layout.products``, ``[f]`` or ``[1, f]``.
        """

    def inputs(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs of the minibatch of ``step``, ``[C, B, ...]``, padded, and its real rows ``[C]``.

        Of a problem without examples: one row of no width.
        """

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """The minibatch of ``step``, for a loss of one's own: inputs and targets ``[C, B, ...]``, real rows ``[C]``.

        The other rows are padding. Whoever takes one trains on it, so it counts as a gradient.
        """

    def forward(self, x: Tensor, inputs: Tensor, buffers: Tensor | None = None, train: bool = True) -> Tensor:
        """Outputs ``[C, B, ...]`` of the model, differentiable in ``x``; BatchNorm statistics are left alone.

        Args:
            x: where, ``[C, d]`` or ``[1, d]``.
            inputs: of each client, ``[C, B, ...]``, all of them real.
            buffers: BatchNorm statistics, ``[C, b]`` or ``[1, b]``; by default those the engine keeps.
            train: training mode. Dropout is that of the last ``batch``: the same at two points.
        """

    @property
    def optimum(self) -> Tensor:
        """The minimiser of the mean of all losses, ``[d]``: for yardsticks, which declare ``needs_optimum``."""
