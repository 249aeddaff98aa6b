"""Whether results may be compared: they were all tuned, in the same way, or none of them was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedsparse.config.specs import shown
from fedsparse.errors import ConfigError
from fedsparse.words import listed

__all__ = ["Tuned", "refuse_unlike", "unlike"]

Tunings = Mapping[str, Mapping[str, Any] | None]
"""By the name of a result, the ``tuning`` of its ``summary.json``; ``None`` where it was not tuned."""


@dataclass(frozen=True)
class Tuned:
    """How the values of a run were chosen: the section ``tuning`` of its ``config.yaml`` and ``summary.json``.

    Attributes:
        grid: the values that were tried, by key.
        trials: the budget: combinations of values that the method could choose from.
        seeds: with which each of them was run.
        select: ``"final"``, ``"best"`` or ``"bytes_to_target"``.
        metric: what was judged.
        chosen: the values, by key.
        score: mean over ``seeds`` of what was judged.
    """

    grid: Mapping[str, Sequence[Any]]
    trials: int
    seeds: Sequence[int]
    select: str
    metric: str
    chosen: Mapping[str, Any]
    score: float


_ALIKE = {"trials": "numbers of trials", "seeds": "tuning seeds", "select": "criteria", "metric": "metrics"}
"""What must be the same for all, and what to call it."""


def unlike(tunings: Tunings) -> list[str]:
    """What is unfair about comparing these results, a sentence each; empty where nothing is.

    Values of a key must be the same for all methods that have it in their grid. A method may have keys that others
    lack, as long as it has no more trials.
    """
    tuned = {name: tuning for name, tuning in tunings.items() if tuning is not None}
    untuned = [name for name in tunings if name not in tuned]
    found = []
    if tuned and untuned:
        found.append(f"tuned ({listed(tuned)}) and untuned ({listed(untuned)}) results are compared")
    for key, what in _ALIKE.items():
        found += _differ(what, {name: tuning.get(key) for name, tuning in tuned.items()})
    grids: dict[str, Mapping[str, Any]] = {name: tuning.get("grid") or {} for name, tuning in tuned.items()}
    for key in dict.fromkeys(key for grid in grids.values() for key in grid):
        found += _differ(f"grids of {key}", {name: grid[key] for name, grid in grids.items() if key in grid})
    return found


def refuse_unlike(tunings: Tunings) -> None:
    """Refuses a comparison that is not fair.

    Raises:
        ConfigError: says what is unlike.
    """
    found = unlike(tunings)
    if found:
        raise ConfigError(f"{'; '.join(found)}; tune all of them with one command, or none")


def _differ(what: str, values: Mapping[str, Any]) -> list[str]:
    """One sentence where the values are not all the same."""
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(shown(value), []).append(name)
    if len(groups) < 2:
        return []
    sides = " against ".join(f"{value} ({listed(names)})" for value, names in groups.items())
    return [f"tuned with different {what}: {sides}"]
