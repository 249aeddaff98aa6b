"""Convolutions, one client after the other in channels-last order: nothing batched is faster on a processor.

On an accelerator all clients go as groups of one convolution, or as matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fedsparse.cohort.layers import columns
from fedsparse.cohort.layers.base import Layer, Pass
from fedsparse.cohort.loops import compiled

__all__ = ["TYPES", "batched"]

TYPES = (nn.Conv1d, nn.Conv2d)

_Settings = tuple[list[int], list[int], list[int], int]
"""Stride, padding, dilation, groups."""


def _channels_last(x: Tensor) -> Tensor:
    if x.dim() != 4:
        return x.contiguous()
    # Not x.contiguous(): it leaves the strides of dimensions of one, by which kernels are chosen, as they are.
    last = x.permute(0, 2, 3, 1)
    return last.reshape(-1).view(last.shape).permute(0, 3, 1, 2)


def _stacked(rows: list[Tensor]) -> Tensor:
    """Stacks clients' images ``[B, m, H, W]`` without leaving the order channels last."""
    if rows[0].dim() != 4:
        return torch.stack(rows)
    if len(rows) == 1:
        return _channels_last(rows[0])[None]
    return torch.stack([own.permute(0, 2, 3, 1) for own in rows]).permute(0, 1, 4, 2, 3)


@compiled
def _outputs(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    """``[C, B, m, ...]``, client after client."""
    made: list[Tensor] = []
    for client in range(x.shape[0]):
        own: Tensor | None = None
        if bias is not None:
            own = bias[client]
        made.append(
            torch.convolution(
                _channels_last(x[client]),
                _channels_last(weight[client]),
                own,
                stride,
                padding,
                dilation,
                False,
                [0] * len(stride),
                groups,
            )
        )
    return _stacked(made)


@compiled
def _slopes(
    d: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    wanted: list[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of inputs, weights and biases that are wanted, client after client."""
    inputs: list[Tensor] = []
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    for client in range(d.shape[0]):
        dx, dw, db = torch.ops.aten.convolution_backward(
            _channels_last(d[client]),
            _channels_last(x[client]),
            _channels_last(weight[client]),
            [weight.shape[1]],
            stride,
            padding,
            dilation,
            False,
            [0] * len(stride),
            groups,
            wanted,
        )
        inputs.append(dx)
        weights.append(dw)
        biases.append(db)
    of_inputs: Tensor | None = None
    of_weights: Tensor | None = None
    of_biases: Tensor | None = None
    if wanted[0]:
        of_inputs = _stacked(inputs)
    if wanted[1]:
        of_weights = torch.stack(weights)
    if wanted[2]:
        of_biases = torch.stack(biases)
    return of_inputs, of_weights, of_biases


class _Convolution(torch.autograd.Function):
    """``x [C, B, n, ...]``, ``w [C, m, n, ...]``, ``b [C, m]`` to ``[C, B, m, ...]``."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, settings: _Settings) -> Tensor:
        return _outputs(x, weight, bias, *settings)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004 - a method of PyTorch's
        x, weight, bias, ctx.settings = inputs
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> Any:
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.biased]
        stride, padding, dilation, groups = ctx.settings
        x, weight = ctx.saved_tensors
        return *_slopes(d, x, weight, stride, padding, dilation, groups, wanted), None


class _Together:
    """The same by one call for all clients: their channels lie side by side, or each has a product."""

    def __init__(self, function: Callable[..., Tensor], settings: _Settings) -> None:
        self._function, self._settings = function, settings

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        stride, padding, dilation, groups = self._settings
        clients, batch = x.shape[:2]
        if groups == max(*stride, *dilation) == 1 and columns.fits(x, weight, padding):
            return columns.convolved(x, weight, bias, padding)
        out = self._function(
            x.transpose(0, 1).flatten(1, 2),
            weight.flatten(0, 1),
            None if bias is None else bias.flatten(),
            stride,
            padding,
            dilation,
            groups * clients,
        )
        return out.view(batch, clients, -1, *out.shape[2:]).transpose(0, 1)


def batched(layer: nn.Conv1d | nn.Conv2d, name: str) -> Layer | None:
    """``[C * B, n, ...]`` to ``[C * B, m, ...]``; padding by zeros, given in numbers."""
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    settings = (list(layer.stride), list(layer.padding), list(layer.dilation), layer.groups)
    biased = layer.bias is not None
    kind = nn.functional.conv1d if isinstance(layer, nn.Conv1d) else nn.functional.conv2d
    together = _Together(kind, settings)

    def forward(run: Pass, x: Tensor) -> Tensor:
        weight = run.values[f"{name}.weight"]
        bias = run.values[f"{name}.bias"] if biased else None
        if x.is_cuda:
            out = together(run.apart(x), weight, bias)
        else:
            out = _Convolution.apply(run.apart(x), weight, bias, settings)  # type: ignore[no-untyped-call]
        return out.flatten(0, 1)

    return forward
