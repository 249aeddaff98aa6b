"""Functions and methods of PyTorch's that are known to keep examples apart, in batched form."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fedsparse.cohort.layers.attention import mixed
from fedsparse.cohort.layers.base import Layer, Pass
from fedsparse.cohort.layers.plain import in_registers

__all__ = ["EXACT", "ROUNDED", "function"]

EXACT: set[Any] = {
    getattr, operator.add, operator.getitem, operator.iadd, operator.mul, operator.neg, operator.sub, operator.truediv,
    torch.add, torch.amax, torch.cat, torch.div, torch.flatten, torch.mean, torch.mul, torch.permute, torch.relu,
    torch.squeeze, torch.stack, torch.sub, torch.sum, torch.transpose, torch.unsqueeze, torch.where,
    functional.adaptive_avg_pool1d,
    functional.adaptive_avg_pool2d, functional.avg_pool2d, functional.leaky_relu, functional.max_pool1d,
    functional.max_pool2d, functional.relu, "__getitem__", "__rsub__", "add", "amax", "chunk", "clamp", "contiguous",
    "dim", "div", "double", "expand", "flatten", "float", "long", "masked_fill", "mean", "mul", "ne", "permute", "relu",
    "reshape", "size", "split", "squeeze", "sub", "sum", "to", "transpose", "unbind", "unflatten", "unsqueeze", "view",
}  # fmt: skip
"""Functions and methods whose result for an entry depends neither on the batch nor on the place in it."""

ROUNDED: set[Any] = {
    torch.tanh, torch.sigmoid, torch.pow, functional.gelu, functional.silu, functional.elu, functional.softplus,
    functional.mish, "pow", "tanh", "sigmoid",
}  # fmt: skip
"""Functions of single entries that round the last ones of a tensor in another way."""


def function(target: Any) -> Layer | None:
    """The batched form of a function, or of a method given by its name; ``None`` where none is known."""
    # Never in place: other steps may still need what was there.
    named = operator.add if target is operator.iadd else target
    call = _method(named) if isinstance(named, str) else named
    if target in EXACT:

        def exact(run: Pass, *args: Any, inplace: bool = False, **kwargs: Any) -> Any:
            del run, inplace
            return call(*args, **kwargs)

        return exact
    if target in ROUNDED:

        def rounded(run: Pass, x: Tensor, *args: Any, inplace: bool = False, **kwargs: Any) -> Any:
            del run, inplace
            return in_registers(lambda entries: call(entries, *args, **kwargs), x)

        return rounded
    return mixed if target is functional.scaled_dot_product_attention else None


def _method(name: str) -> Callable[..., Any]:
    return lambda x, *args, **kwargs: getattr(x, name)(*args, **kwargs)
