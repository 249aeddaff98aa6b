"""How a flat parameter vector is made of named tensors, and what everything starts from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from fedsparse.lazy import cached_property

__all__ = ["Field", "Forward", "Layout", "Start"]

Forward: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From parameters ``[d]``, or ``[d + f]`` with what is merged, and inputs ``[B, ...]`` to outputs ``[B, ...]``."""


@dataclass(frozen=True)
class Field:
    """One parameter tensor inside the flat vector.

    Attributes:
        name: of the tensor.
        start: its first place.
        shape: of the tensor.
        prunable: whether single entries may be left out: weights of linear layers and convolutions.
        positions: how often an entry is multiplied for one example: output positions of a convolution, rows of a
            sequence; 0 where that is not known.
        table: whether it is that of an embedding: a row for each symbol, of which an example looks up some.
    """

    name: str
    start: int
    shape: tuple[int, ...]
    prunable: bool = False
    positions: int = 0
    table: bool = False

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(torch.Size(self.shape).numel())

    @property
    def slice(self) -> slice:
        """Where the tensor lies in the flat vector."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class Layout:
    """How a flat vector is made of named tensors; ``layout["fc.weight"]`` is that tensor's :class:`Field`.

    Attributes:
        fields: the tensors, in order.
        activations: numbers that the model computes for one example, all layers together; 0 where that is not known.
    """

    fields: tuple[Field, ...]
    activations: int = 0

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        return sum(f.size for f in self.fields)

    def __getitem__(self, name: str) -> Field:
        return self._by_name[name]

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    @cached_property
    def _by_name(self) -> dict[str, Field]:
        return {f.name: f for f in self.fields}

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Views ``[..., *shape]`` of ``flat [..., d]``, one for each name."""
        lead = flat.shape[:-1]
        return {f.name: flat[..., f.slice].view(*lead, *f.shape) for f in self.fields}

    @cached_property
    def multiplications(self) -> int:
        """How often a forward pass multiplies by a weight for one example; a layer of unknown positions has one."""
        layers = (f for f in self.fields if f.prunable or f.positions)
        return sum(max(1, f.positions) * f.size for f in layers)

    @cached_property
    def counted(self) -> bool:
        """Whether there are layers, and the positions of all of them are known."""
        layers = [*(f for f in self.fields if f.prunable), *(f for pair in self.adapters for f in pair)]
        return bool(layers) and all(f.positions for f in layers)

    @cached_property
    def adapters(self) -> tuple[tuple[Field, Field], ...]:
        """A ``[r, n]`` and B ``[m, r]`` of each low-rank adapter: ``<layer>.lora_A`` and ``<layer>.lora_B``."""
        names = [f.name.removesuffix(".lora_A") for f in self.fields if f.name.endswith(".lora_A")]
        return tuple((self[f"{name}.lora_A"], self[f"{name}.lora_B"]) for name in names)

    @cached_property
    def products(self) -> Layout:
        """The products B A of the adapters, ``<layer>.lora`` of shape ``(m, n)``; they are in another vector than x."""
        return Layout.of({a.name.removesuffix("_A"): (b.shape[0], a.shape[1]) for a, b in self.adapters})

    def parted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A model ``x [..., d]`` or ``[..., d + f]`` as its parameters, and what is merged into its frozen weights.

        The latter has no width where there is nothing.
        """
        return x[..., : self.size], x[..., self.size :]

    @staticmethod
    def of(
        shapes: Mapping[str, Sequence[int]],
        prunable: frozenset[str] = frozenset(),
        tables: frozenset[str] = frozenset(),
    ) -> Layout:
        """Tensors one behind the other in the order of ``shapes``."""
        made, start = [], 0
        for name, shape in shapes.items():
            made.append(Field(name, start, tuple(shape), name in prunable, table=name in tables))
            start += made[-1].size
        return Layout(tuple(made))


@dataclass(frozen=True)
class Start:
    """What everything starts from.

    Attributes:
        x: initial parameters ``[d]``, float32 or float64.
        layout: the tensors in ``x``.
        buffers: initial BatchNorm statistics and the like ``[b]``; empty where the model has none.
        buffer_layout: the tensors in ``buffers``.
        input_shape: the shape of one input; of no width where there are none.
        forward: the module in evaluation mode, differentiable in its parameters; ``None`` where there is no network.
    """

    x: Tensor
    layout: Layout
    buffers: Tensor = field(default_factory=lambda: torch.zeros(0))
    buffer_layout: Layout = field(default_factory=lambda: Layout(()))
    input_shape: tuple[int, ...] = (0,)
    forward: Forward | None = field(default=None, repr=False, compare=False)
