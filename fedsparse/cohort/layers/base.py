"""What a batched layer is, and what it gets to know about the pass it is part of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fedsparse.lazy import cached_property

__all__ = ["Dense", "Layer", "Pass", "clients_alone"]


class Dense(Protocol):
    """A linear layer whose weights are kept in another form than as tensors ``[C, m, n]``."""

    def __call__(self, h: Tensor) -> Tensor:
        """Differentiable outputs ``[C, B, m]`` for ``h [C, B, n]``."""


@dataclass
class Pass:
    """One forward pass of a block of C clients with B examples each.

    Between layers examples of all clients lie in one batch ``[C * B, ...]``, client after client.

    Attributes:
        clients: C.
        counts: how many of its B rows are real, for each client; the others are padding.
        values: parameters and statistics by name, ``[C, *shape]``; statistics are advanced in place when training.
        train: training mode.
        keys: seeds of each client's dropout.
        dense: linear layers in another form, by name.
        made: where somebody wants to know, what was computed inside a step of the program: a layer's name, the layer
            and what it gave; of a function without the former two.
    """

    clients: int
    counts: list[int]
    values: Mapping[str, Tensor]
    train: bool
    keys: Sequence[int] = ()
    dense: Mapping[str, Dense] = field(default_factory=dict)
    made: list[tuple[str, nn.Module | None, Any]] | None = None

    @cached_property
    def generators(self) -> list[torch.Generator]:
        """One generator a client, which the dropout layers use one after the other."""
        return [torch.Generator().manual_seed(key) for key in self.keys]

    def apart(self, x: Tensor) -> Tensor:
        """``[C * B, ...]`` as ``[C, B, ...]``."""
        return x.view(self.clients, x.shape[0] // self.clients, *x.shape[1:])

    def own(self, name: str) -> tuple[Any, ...]:
        """A parameter or statistic of each client; ``None`` for each where there is no such one."""
        # Taken apart all at once: backwards the clients' gradients are then put together once.
        return self.values[name].unbind() if name in self.values else (None,) * self.clients


Layer = Callable[..., Any]
"""``layer(run, *inputs) -> output``, all tensors ``[C * B, ...]``."""


def clients_alone(run: Pass, function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """Calls ``function(i, *rows)`` with each client's real rows; what comes out is put together again, padded by zeros.

    Args:
        run: the pass.
        function: gets the client's place in the block, then for every tensor of ``inputs`` its rows ``[n_i, ...]``;
            gives ``[n_i, ...]``.
        inputs: tensors ``[C * B, ...]``, and whatever else is passed on as it is.
    """
    first = next(x for x in inputs if isinstance(x, Tensor))
    width, order = first.shape[0] // run.clients, _order(first)
    several = run.clients > 1
    parted = [
        torch.split(x, width) if several and isinstance(x, Tensor) else (x,) * run.clients for x in inputs
    ]
    found = []
    for i, (n, own) in enumerate(zip(run.counts, zip(*parted, strict=True), strict=True)):
        # A client without rows goes through with padding, so that its output has a shape; nothing is learnt from it.
        cut = own if n in (0, width) else [x[:n] if isinstance(x, Tensor) else x for x in own]
        rows = function(i, *cut)
        missing = width - rows.shape[0]
        if missing:
            rows = torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])])
        found.append(_as_copied(rows, order))
    return torch.cat(found) if several else found[0]


def _order(x: Tensor) -> torch.memory_format:
    channels_last = (
        x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    )
    return torch.channels_last if channels_last else torch.contiguous_format


def _as_copied(x: Tensor, order: torch.memory_format) -> Tensor:
    """The same as a copy in this order would have it, and its gradient likewise.

    Kernels are chosen by the order in memory, down to the strides of dimensions of one. It must not depend on other
    clients, as that of several tensors put together does.
    """
    if x.dim() == 4 and order == torch.channels_last:
        last = x.permute(0, 2, 3, 1)
        return last.reshape(-1).view(last.shape).permute(0, 3, 1, 2)
    return x.reshape(-1).view(x.shape)
