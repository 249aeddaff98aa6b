"""Layers in batched form, one kind a file; a new file is found by itself.

Each file has ``TYPES``, the classes of layers it knows, and ``batched(layer, name)``, which gives the layer's batched
form, or ``None`` where its settings are beyond it.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from torch import nn

from fedsparse.cohort.layers.base import Layer, Pass

__all__ = ["Layer", "Pass", "batched", "known"]


@cache
def known() -> dict[type[nn.Module], Callable[[Any, str], Layer | None]]:
    """Makers of batched layers, by the class of the layer."""
    found: dict[type[nn.Module], Callable[[Any, str], Layer | None]] = {}
    for info in pkgutil.iter_modules(__path__, f"{__name__}."):
        module = import_module(info.name)
        found |= dict.fromkeys(getattr(module, "TYPES", ()), getattr(module, "batched", None))
    return found


def batched(layer: nn.Module, name: str) -> Layer | None:
    """The batched form of a layer of exactly a known class; ``None`` where there is none.

    Args:
        layer: a layer of PyTorch's.
        name: its name in the model; its parameters are ``{name}.weight`` and so on.
    """
    maker = known().get(type(layer))
    return None if maker is None else maker(layer, name)
