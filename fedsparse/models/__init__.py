"""Models: one module for each family, and any ``torch.nn.Module`` of yours by import path.

A module of this package defines ``build(example_shape, classes, **options) -> torch.nn.Module`` and need not
care about its initial weights: they are drawn here, from the run's seed alone. One whose ``build`` also takes ``seed``
gives a module with weights.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedsparse.data.members import Members
from fedsparse.errors import ConfigError
from fedsparse.models._initial import initialise
from fedsparse.models._saved import write
from fedsparse.rng import seed64, stream

__all__ = ["MODELS", "build", "names", "options", "save"]

MODELS = Members(
    "fedsparse.models", function="build", kind="model", given=("example_shape", "classes", "seed")
)
"""The models: the modules of ``fedsparse.models``, each with ``build(example_shape, classes, **options)``."""


def names() -> list[str]:
    """The models that come with fedsparse."""
    return MODELS.names()


def options(name: str) -> dict[str, inspect.Parameter]:
    """The options of a model, with types and defaults."""
    return MODELS.options(name)


def build(name: str, example_shape: tuple[int, ...], classes: int, seed: int, **options: object) -> nn.Module:
    """Build a model with its initial weights; torch's global random state is left as it was.

    Args:
        name: one of :func:`names`, or ``package.module:Class``. Such a class gets ``example_shape``, ``classes``
            and ``seed`` if its parameters have these names, and the options; its own initialisation is kept.
        example_shape: the shape of one input.
        classes: the number of outputs.
        seed: the run's seed.
        options: the options of the model, see :func:`options`.

    Returns:
        A module on the CPU with ``forward(x [B, *example_shape]) -> logits [B, classes]``; ``charmodel``
        gives ``[B, T, classes]``.

    Raises:
        ConfigError: an unknown name or option, or a value that makes no sense.
        DataError: the model cannot take inputs of this shape.
    """
    function = MODELS.checked(name, options)
    if ":" in name or "seed" in inspect.signature(function).parameters:
        given = {"example_shape": tuple(example_shape), "classes": classes, "seed": seed}
        return _own(name, function, given, seed, options)
    with torch.device("meta"):
        module: nn.Module = function(tuple(example_shape), classes, **options)
    module = module.to_empty(device="cpu")
    initialise(module, stream(seed, "init"))
    return module


def _own(
    name: str, function: Callable[..., Any], given: dict[str, object], seed: int, options: dict[str, object]
) -> nn.Module:
    wanted = inspect.signature(function).parameters
    arguments = {key: value for key, value in given.items() if key in wanted} | options
    # torch.manual_seed would also reseed every accelerator, whose generators the fork does not give back.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed64(seed, "init"))
        module = function(**arguments)
    if not isinstance(module, nn.Module):
        raise ConfigError(f"model {name!r} gave a {type(module).__name__}; it must give a torch.nn.Module")
    return module


def save(
    folder: Path,
    module: nn.Module,
    name: str,
    example_shape: tuple[int, ...],
    classes: int,
    **options: object,
) -> None:
    """Write a model with its weights, for ``model=saved model.base=FOLDER`` and for ``model=lora``.

    Args:
        folder: is made if it is not there.
        module: what :func:`build` gave for the other arguments, trained.
        name: of the model.
        example_shape: the shape of one input.
        classes: the number of outputs.
        options: the options of the model.
    """
    write(
        folder, module, {"name": name, "options": options, "example_shape": example_shape, "classes": classes}
    )
