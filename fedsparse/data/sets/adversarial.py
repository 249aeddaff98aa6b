"""Adversarial training of a small network on images, against one bounded perturbation; without files on the digits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedsparse.data.checks import whole, within
from fedsparse.data.dataset import Dataset
from fedsparse.data.problem import Divisible, Problem
from fedsparse.errors import ConfigError

if TYPE_CHECKING:
    from fedsparse.data.holdings import Partition

__all__ = ["load"]


def load(
    data_dir: Path | None,
    seed: int,
    *,
    on: str = "digits",
    hidden: int = 32,
    radius: float = 0.2,
    speed: float = 10.0,
) -> Divisible:
    """Minimum over the weights, maximum over a perturbation of all images, of the cross-entropy.

    Args:
        data_dir: the data folder.
        seed: the run's seed; names the initial weights.
        on: the data set: ``digits`` needs no files, ``mnist`` and others do.
        hidden: width of the network's hidden layer.
        radius: bound of the perturbation of each pixel; pixels are between 0 and 1 in most sets.
        speed: how fast the perturbation moves beside the weights.
    """
    from fedsparse.data import load as any_set

    whole("hidden", hidden, 1)
    within("radius", radius, 0, open_low=True)
    within("speed", speed, 0, open_low=True)
    found = any_set(on, data_dir, seed)
    if (
        not isinstance(found, Dataset)
        or found.regression
        or found.y.ndim != 1
        or len(found.example_shape) != 3
    ):
        raise ConfigError(f"on={on}: must be a data set of images with a class each, such as digits or mnist")

    def over(held: Partition, batch: int) -> Problem:
        from fedsparse import models
        from fedsparse.data.adversarial import AdversarialTraining

        module = models.build("mlp", found.example_shape, found.classes, seed, hidden=[hidden])
        return AdversarialTraining(found, held, batch, module, radius, speed)

    return Divisible(found, over)
