"""The convolutional network of the federated averaging paper: 1,663,370 parameters for 28x28 grey images.

Source: H. B. McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data",
AISTATS 2017. No dropout.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from fedsparse.data.checks import whole
from fedsparse.models._shapes import require_images

__all__ = ["build"]


def build(example_shape: tuple[int, ...], classes: int, *, width: int = 32, hidden: int = 512) -> nn.Module:
    """Two 5x5 convolutions that keep the size, each with pooling, and two linear layers.

    Args:
        example_shape: (channels, height, width), at least 4x4 pixels.
        classes: outputs.
        width: channels of the first convolution; the second has twice as many.
        hidden: width of the hidden linear layer.
    """
    whole("width", width, 1)
    whole("hidden", hidden, 1)
    channels, rows, columns = require_images("cnn", example_shape, 4)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, width, 5, padding=2),
            pool1=nn.MaxPool2d(2),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(width, 2 * width, 5, padding=2),
            pool2=nn.MaxPool2d(2),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(2 * width * (rows // 4) * (columns // 4), hidden),
            relu3=nn.ReLU(),
            head=nn.Linear(hidden, classes),
        )
    )
