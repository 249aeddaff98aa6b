"""What a method is tried with: all combinations of the values of its keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedsparse.config import RunConfig, flat, jobs
from fedsparse.config.specs import shown
from fedsparse.errors import ConfigError
from fedsparse.words import listed

__all__ = ["TUNABLE", "Method", "Setting", "edges", "method", "refuse_task"]

TUNABLE = ("strategy", "uplink", "downlink", "aggregator", "sampler", "batch", "cohort", "over_select")
"""Keys that belong to a method. All others are the task, which is the same for every trial."""


@dataclass(frozen=True)
class Setting:
    """One combination of values.

    Attributes:
        values: by key of the grid.
        config: a run with them; seed and folder are those of nobody.
    """

    values: Mapping[str, Any]
    config: RunConfig

    @property
    def label(self) -> str:
        """``key=value ...``; empty where there is nothing to choose."""
        return " ".join(f"{key}={shown(value)}" for key, value in self.values.items())


@dataclass(frozen=True)
class Method:
    """A strategy with what it is tried with.

    Attributes:
        name: as typed.
        settings: in the order of the grid, the last key fastest.
    """

    name: str
    settings: Sequence[Setting]

    @property
    def slug(self) -> str:
        """The name as part of a folder's name."""
        return re.sub(r"[^\w.]+", "_", self.name).strip("_.")

    @property
    def grid(self) -> dict[str, list[Any]]:
        """The values of each key, in the order in which they were given."""
        values: dict[str, list[Any]] = {}
        for setting in self.settings:
            for key, value in setting.values.items():
                if value not in values.setdefault(key, []):
                    values[key].append(value)
        return values


def method(name: str, overrides: Sequence[str]) -> Method:
    """The method of a name and the ``key=values`` that are meant for it.

    Raises:
        ConfigError: a value cannot be, is twice in the grid, or is of the task.
    """
    settings: list[Setting] = []
    for job in jobs([f"strategy={name}", *overrides]):
        for key in job.swept:
            refuse_task(key, f"{key}={job.swept[key]},...")
        values = flat(job.config)
        setting = Setting({key: values[key] for key in job.swept}, job.config)
        if any(setting.config == other.config for other in settings):
            raise ConfigError(f"strategy={name}: {setting.label} is twice in the grid; leave one out")
        settings.append(setting)
    return Method(name, settings)


def refuse_task(key: str, text: str) -> None:
    """Refuses to have another task for some trials than for others.

    Raises:
        ConfigError: the key is not of a method.
    """
    if key.partition(".")[0] not in TUNABLE:
        raise ConfigError(
            f"{text}: {key} is part of the task, which must be the same for every trial; what can be tuned is "
            f"{listed(TUNABLE)} and their options"
        )


def edges(grid: Mapping[str, Sequence[Any]], chosen: Mapping[str, Any]) -> list[str]:
    """Keys whose chosen value is the smallest or largest number that was tried: a better one may lie beyond."""
    found = []
    for key, values in grid.items():
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) > 1 and chosen[key] in (min(numbers), max(numbers)):
            found.append(key)
    return found
