"""Seeing to it that a module draws nothing from PyTorch's global random generator."""

from __future__ import annotations

from torch import nn

from fedsparse.cohort.layers.dropout import KeyedDropout
from fedsparse.errors import ConfigError

__all__ = ["steady"]


def steady(module: nn.Module) -> None:
    """Replaces dropout layers by keyed ones, in place.

    Raises:
        ConfigError: a layer draws from PyTorch's global generator in a way that cannot be keyed.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and child.momentum is None:
            raise ConfigError(
                f"model: layer '{name}' has momentum=None, so its statistics depend on how many minibatches it has "
                "seen in all, which no client knows; give it a momentum, e.g. 0.1"
            )
        if isinstance(child, nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d):
            setattr(module, name, KeyedDropout(child.p, channels=not isinstance(child, nn.Dropout)))
        elif isinstance(child, _UNKEYED) or _share(child) > 0:
            raise ConfigError(
                f"model: layer '{name}' ({type(child).__name__}) draws from PyTorch's global random generator, so runs "
                "would not repeat; use separate nn.Dropout layers instead"
            )
        else:
            steady(child)


_UNKEYED = (nn.RReLU, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)
"""Layers that draw from PyTorch's global generator and cannot be replaced."""


def _share(layer: nn.Module) -> float:
    """Dropout that a layer, such as an LSTM, applies by itself."""
    share = getattr(layer, "dropout", 0.0)  # a child of that name is a module
    return float(share) if isinstance(share, int | float) else 0.0
