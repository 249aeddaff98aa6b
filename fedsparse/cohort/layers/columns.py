"""Convolutions as matrix products with the columns of the images, every client its own, for accelerators.

Grouped convolutions, which take all clients in one call, are slow there where a group has more than a few channels. The
columns of an image are the patches that the filters meet; they are made anew for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["convolved", "fits"]

_FEWEST = 4
"""Channels from which a product is faster, by measurement on an H100."""

_LARGEST = 1 << 29
"""Bytes of columns that are made at a time."""


def fits(x: Tensor, weight: Tensor, padding: list[int]) -> bool:
    """Whether :func:`convolved` can be used, and is worth it; arguments as there."""
    if x.dim() != 5 or weight.shape[2] < _FEWEST:
        return False
    channels, *kernel = weight.shape[2:]
    if any(p >= k for p, k in zip(padding, kernel, strict=True)):
        return False
    patch = kernel[0] * kernel[1] * max(channels, weight.shape[1])
    pixels = x[:, :, 0].numel() + 2 * sum(padding) * max(x.shape[3:]) * x.shape[0] * x.shape[1]
    return patch * pixels * x.element_size() <= _LARGEST


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
    """Convolutions of step one, ``[C, B, m, H', W']``.

    Args:
        x: images ``[C, B, n, H, W]``.
        weight: filters ``[C, m, n, h, w]``.
        bias: ``[C, m]``.
        padding: zeros above and below, and to the left and right: fewer than filters are high and wide.
    """
    found: Tensor = _Columns.apply(x, weight, padding)  # type: ignore[no-untyped-call]
    return found if bias is None else found + bias[:, None, :, None, None]


class _Columns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: list[int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return _product(x, weight, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        kernel = weight.shape[3:]
        dx = dw = None
        if ctx.needs_input_grad[0]:  # by the filters the other way round, from the outputs back to the inputs
            turned = weight.flip(3, 4).transpose(1, 2)
            dx = _product(d, turned, [k - 1 - p for k, p in zip(kernel, ctx.padding, strict=True)])
        if ctx.needs_input_grad[1]:
            slopes = d.permute(0, 2, 1, 3, 4).flatten(2)
            dw = torch.bmm(slopes, _columns(x, kernel, ctx.padding)).view(weight.shape)
        return dx, dw, None


def _product(x: Tensor, weight: Tensor, padding: list[int]) -> Tensor:
    """The convolution itself; padding may be as wide as the filters less one."""
    high, wide = (x.shape[3 + k] + 2 * padding[k] - weight.shape[3 + k] + 1 for k in (0, 1))
    found = torch.bmm(_columns(x, weight.shape[3:], padding), weight.flatten(2).mT)
    return found.view(*x.shape[:2], high, wide, -1).permute(0, 1, 4, 2, 3)


def _columns(x: Tensor, kernel: torch.Size, padding: list[int]) -> Tensor:
    """The patches of all images of each client, ``[C, B H' W', n h w]``."""
    padded = functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    patches = padded.unfold(3, kernel[0], 1).unfold(4, kernel[1], 1)
    return patches.permute(0, 1, 3, 4, 2, 5, 6).flatten(4).flatten(1, 3)
