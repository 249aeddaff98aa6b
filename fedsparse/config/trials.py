"""Options of partitions and models are checked by the functions that take them; here they are tried in small.

So an absurd value is found before data are loaded and workers started. Only a ``ConfigError`` counts: that the
small data set does not suit a partition, or its shape a model, says nothing about the real one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fedsparse.errors import ConfigError, FedSparseError

__all__ = ["try_model", "try_partition"]


def try_partition(divide: Callable[..., Any], options: dict[str, Any]) -> None:
    """Divides a hundred examples of two classes and four groups between two clients.

    Args:
        divide: the function of a partition.
        options: its options.

    Raises:
        ConfigError: a value makes no sense.
    """
    import numpy as np

    from fedsparse.data import Dataset

    x, y = np.zeros((100, 1), dtype=np.float32), np.arange(100) % 2
    small = Dataset("trial", x, y, x, y, classes=2, groups=np.arange(100) % 4)
    _only_config_errors(lambda: divide(small, 2, 0, **options))


def try_model(build: Callable[..., Any], options: dict[str, Any]) -> None:
    """Builds the model for grey images of 28x28 pixels and ten classes, without memory for its weights.

    Args:
        build: the function of a model.
        options: its options.

    Raises:
        ConfigError: a value makes no sense.
    """
    import torch

    if "seed" in inspect.signature(build).parameters:
        return  # it starts from another model's weights, which a trial would have to load
    with torch.device("meta"):
        _only_config_errors(lambda: build((1, 28, 28), 10, **options))


def _only_config_errors(act: Callable[[], object]) -> None:
    try:
        act()
    except ConfigError:
        raise
    except FedSparseError:
        return
