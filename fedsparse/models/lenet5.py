"""LeNet-5 in its modern form: ReLU, max pooling, full connections. 61,706 parameters for 28x28 grey images.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE, 1998.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from fedsparse.models._shapes import require_images

__all__ = ["build"]


def build(example_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Two convolutions with pooling, three linear layers.

    Images with a side below 32 get a border of two zeros, as 28x28 digits did for the 32x32 original.

    Args:
        example_shape: (channels, height, width), at least 12x12 pixels.
        classes: outputs.
    """
    channels, height, width = require_images("lenet5", example_shape, 12)
    border = 2 if min(height, width) < 32 else 0
    rows, columns = (((side + 2 * border - 4) // 2 - 4) // 2 for side in (height, width))
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 6, 5, padding=border),
            pool1=nn.MaxPool2d(2),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(6, 16, 5),
            pool2=nn.MaxPool2d(2),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(16 * rows * columns, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            head=nn.Linear(84, classes),
        )
    )
