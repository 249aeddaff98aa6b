"""Layers without parameters that treat every example alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedsparse.cohort.layers.base import Layer, Pass
from fedsparse.errors import ConfigError

__all__ = ["EXACT", "ROUNDED", "TYPES", "batched", "in_registers"]

EXACT = (
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.ConstantPad2d,
    nn.Flatten,
    nn.Hardtanh,
    nn.Identity,
    nn.LeakyReLU,
    nn.LogSoftmax,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.PixelShuffle,
    nn.ReLU,
    nn.ReLU6,
    nn.ReflectionPad2d,
    nn.ReplicationPad2d,
    nn.Softmax,
    nn.Unflatten,
    nn.Upsample,
    nn.ZeroPad2d,
)
"""An entry's bits do not depend on where it lies in memory."""

ROUNDED = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.LogSigmoid,
    nn.Mish,
    nn.SELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Softplus,
    nn.Softsign,
    nn.Tanh,
)
"""Functions of single entries; the last ones of a tensor, which do not fill a register, may be rounded differently."""

TYPES = EXACT + ROUNDED

_REGISTERS = 64
"""A multiple of the entries that any processor's kernels take at once."""


def in_registers(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function of single entries, with the same bits for an entry at any place of any tensor.

    It is given full registers, also when its gradient is taken. The order in memory is kept, by which later kernels are
    chosen.
    """
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        return in_registers(function, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    if x.is_cuda:
        return function(x)
    # In one row: its gradient, too, then comes in one row.
    row, missing = x.reshape(-1), -x.numel() % _REGISTERS
    out = function(functional.pad(row, (0, missing)))[: x.numel()] if missing else function(row)
    return out.view(x.shape)


def batched(layer: Any, name: str) -> Layer | None:
    """The layer itself, on the examples of all clients in one batch."""
    first = _first_dimension(layer)
    if not isinstance(first, int) or first == 0:
        return None
    if getattr(layer, "inplace", False):
        layer = copy.copy(layer)
        layer.inplace = False
    function, exact = layer, type(layer) in EXACT
    if isinstance(layer, nn.Softmax | nn.LogSoftmax):
        function = _along_last(type(layer)(-1), first)

    def forward(run: Pass, x: Tensor) -> Any:
        del run
        if x.dim() + min(first, 0) < 1:
            raise ConfigError(
                f"model: layer '{name}' ({type(layer).__name__}) takes examples together, from inputs of shape "
                f"{tuple(x.shape)}; name a dimension behind the first"
            )
        return function(x) if exact else in_registers(function, x)

    return forward


def _along_last(along: nn.Module, dim: int) -> Callable[[Tensor], Tensor]:
    """Along the last dimension a row is summed up by itself; along others what lies beside it has a part in it."""
    return lambda x: along(x.transpose(dim, -1).contiguous()).transpose(dim, -1).contiguous()


def _first_dimension(layer: Any) -> Any:
    """The first dimension that the layer changes, as a number; the examples are dimension 0."""
    if isinstance(layer, nn.Flatten):
        return layer.start_dim
    return layer.dim if isinstance(layer, nn.Unflatten | nn.Softmax | nn.LogSoftmax) else 1
