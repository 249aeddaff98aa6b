"""A small residual network in three stages, with group or batch normalisation.

``depth=3`` has the layers of the paper's ResNet-20 for CIFAR-10, with projections where the width grows.

Source: K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section
4.2; Y. Wu, K. He, "Group Normalization", ECCV 2018 (its statistics are per example, so clients share none).
"""

from __future__ import annotations

from collections import OrderedDict
from math import gcd

from torch import Tensor, nn

from fedsparse.data.checks import one_of, whole
from fedsparse.models._shapes import require_images

__all__ = ["build"]

MOST_GROUPS = 8


def build(
    example_shape: tuple[int, ...], classes: int, *, norm: str = "group", width: int = 16, depth: int = 1
) -> nn.Module:
    """A 3x3 convolution, three stages of residual blocks, the mean over the image, a linear layer.

    Args:
        example_shape: (channels, height, width), at least 4x4 pixels.
        classes: outputs.
        norm: ``group`` (at most 8 groups) or ``batch``.
        width: channels of the first stage; each further stage has twice as many, at half the resolution.
        depth: blocks of a stage; there are ``6 depth + 2`` layers.
    """
    one_of("norm", norm, ("group", "batch"))
    whole("width", width, 1)
    whole("depth", depth, 1)
    channels, _, _ = require_images("resnet", example_shape, 4)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=_conv(channels, width, 3, 1), norm=_norm(norm, width), relu=nn.ReLU()
    )
    fan_in = width
    for stage in range(3):
        fan_out = width << stage
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            layers[f"block{stage + 1}_{block + 1}"] = _Block(fan_in, fan_out, stride, norm)
            fan_in = fan_out
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "head": nn.Linear(fan_in, classes)}
    return nn.Sequential(layers)


class _Block(nn.Module):
    """Two normalised 3x3 convolutions beside a shortcut, which is projected where the shape changes."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            OrderedDict(
                conv1=_conv(fan_in, fan_out, 3, stride),
                norm1=_norm(norm, fan_out),
                relu=nn.ReLU(),
                conv2=_conv(fan_out, fan_out, 3, 1),
                norm2=_norm(norm, fan_out),
            )
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or fan_in != fan_out:
            self.shortcut = nn.Sequential(
                OrderedDict(conv=_conv(fan_in, fan_out, 1, stride), norm=_norm(norm, fan_out))
            )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """``[B, fan_in, H, W]`` to ``[B, fan_out, ceil(H / stride), ceil(W / stride)]``."""
        out: Tensor = self.relu(self.body(x) + self.shortcut(x))
        return out


def _conv(fan_in: int, fan_out: int, size: int, stride: int) -> nn.Module:
    return nn.Conv2d(fan_in, fan_out, size, stride=stride, padding=size // 2, bias=False)


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(gcd(channels, MOST_GROUPS), channels)
