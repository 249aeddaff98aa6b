"""A model with the weights that a finished run ended with, or that ``fedsparse.models.save`` wrote."""

from __future__ import annotations

from torch import nn

from fedsparse.errors import ConfigError
from fedsparse.models import _saved

__all__ = ["build"]


def build(example_shape: tuple[int, ...], classes: int, seed: int, *, base: str = "") -> nn.Module:
    """Build the model of a folder and fill it; weights of another shape, such as a head, are drawn.

    Args:
        example_shape: the shape of one input.
        classes: outputs.
        seed: of what the folder has no weights for.
        base: the folder: of a finished run, or one that ``fedsparse.models.save`` wrote; ``{seed}`` in it is the
            run's seed.

    Raises:
        ConfigError: it is neither.
        DataError: it is damaged, or the run ended with something else than the weights of its model.
    """
    folder = _saved.folder_of(base, seed)
    if not base or not _saved.is_saved(folder):
        raise ConfigError(
            f"model.base={base}: must be the folder of a finished run, or one that fedsparse.models.save wrote"
        )
    return _saved.filled(folder, example_shape, classes, seed)[0]
