"""Fully connected layers with ReLU between them.

``hidden=[200,200]`` on 28x28 images is the 2NN of H. B. McMahan et al., "Communication-Efficient Learning of
Deep Networks from Decentralized Data", AISTATS 2017: 199,210 parameters.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from math import prod

from torch import nn

from fedsparse.data.checks import whole

__all__ = ["build"]


def build(example_shape: tuple[int, ...], classes: int, *, hidden: tuple[int, ...] = (200,)) -> nn.Module:
    """A multi-layer perceptron of the flattened input.

    Args:
        example_shape: any.
        classes: outputs.
        hidden: widths of the hidden layers.
    """
    for width in hidden:
        whole("hidden", width, 1)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    widths = (prod(example_shape), *hidden)
    for number, (fan_in, fan_out) in enumerate(pairwise(widths), start=1):
        layers[f"fc{number}"] = nn.Linear(fan_in, fan_out)
        layers[f"relu{number}"] = nn.ReLU()
    layers["head"] = nn.Linear(widths[-1], classes)
    return nn.Sequential(layers)
