"""Loops over clients that do not hold up other threads: each client's products are calls of their own.

Between two calls of PyTorch a thread needs the interpreter, and workers that sleep and wake up for it lose more time
than small products take. So the loops are compiled by TorchScript, where this PyTorch has it; where not they run as
they stand here, with the same bits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["compiled", "products", "write_products"]

Loop = TypeVar("Loop", bound=Callable[..., object])


def compiled(loop: Loop) -> Loop:
    """The loop, which may use what TorchScript knows; itself where this PyTorch cannot compile it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript may go one day: the loop stays
            found: Loop = torch.jit.script(loop)
    except (AttributeError, OSError, RuntimeError):
        return loop
    return found


@compiled
def products(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    """``a b^T + bias``, ``[C, p, q]``, by oneDNN, for ``a [C, p, k]``, ``b [C, q, k]`` and ``bias [C, q]``."""
    found: list[Tensor] = []
    for client in range(a.shape[0]):
        own: Tensor | None = None
        if bias is not None:
            own = bias[client]
        found.append(torch.ops.mkldnn._linear_pointwise(a[client], b[client], own, "none", [], ""))
    return torch.stack(found)


@compiled
def write_products(
    a: Tensor, b: Tensor, bias: Tensor | None, plus: Tensor | None, factor: float, parts: int, out: Tensor
) -> None:
    """The same plus ``factor`` times ``plus [C, p, q]``, to ``out [C, p, q]``, the rows of a client in ``parts``."""
    p = a.shape[1]
    for client in range(a.shape[0]):
        own: Tensor | None = None
        if bias is not None:
            own = bias[client]
        for part in range(parts):
            first, last = part * p // parts, (part + 1) * p // parts
            found = torch.ops.mkldnn._linear_pointwise(a[client, first:last], b[client], own, "none", [], "")
            if plus is None:
                out[client, first:last].copy_(found)
            else:
                torch.add(found, plus[client, first:last], alpha=factor, out=out[client, first:last])
