"""Runs that differ in nothing but the seed are a group, and a group is called by what sets it apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedsparse.config import elsewhere
from fedsparse.config.specs import shown
from fedsparse.report.course import Run, Unread

__all__ = ["Group", "decisive", "differing", "grouped"]

_NO_MATTER = frozenset({"eval_every", "seed", "target", "wire"})
"""Keys that change nothing in what is learned or sent."""

_FIRST = ("strategy", "uplink", "downlink")
"""What a group is called by if that is enough."""


@dataclass(frozen=True)
class Group:
    """Runs of one configuration.

    Attributes:
        label: what tells it from the other groups.
        runs: in the order of their seeds.
        settings: its values of the keys in which groups differ, as text.
    """

    label: str
    runs: Sequence[Run]
    settings: Mapping[str, str]

    def ends(self, metric: str) -> list[float]:
        """The metric at the end of each run."""
        return [run.course.end(metric) for run in self.runs]


def decisive(key: str) -> bool:
    """Whether a dotted key sets groups apart."""
    return key.partition(".")[0] not in _NO_MATTER and not elsewhere(key)


def grouped(runs: Sequence[Run]) -> tuple[list[Group], list[Unread]]:
    """The groups, in the order of their first runs, and the runs that are there twice."""
    texts = [_texts(run.config) for run in runs]
    keys = differing(texts)
    found: dict[tuple[str | None, ...], list[Run]] = {}
    for run, values in zip(runs, texts, strict=True):
        found.setdefault(tuple(values.get(key) for key in keys), []).append(run)
    repeated: list[Unread] = []
    settings = [{k: v for k, v in zip(keys, values, strict=True) if v is not None} for values in found]
    groups = [
        Group(label, _by_seed(alike, repeated), values)
        for label, values, alike in zip(_labels(settings, keys), settings, found.values(), strict=True)
    ]
    return groups, repeated


def differing(settings: Iterable[Mapping[str, str]]) -> list[str]:
    """The keys that have not the same value, or are not there, in all of these."""
    every = list(settings)
    keys = dict.fromkeys(key for values in every for key in values)
    return [key for key in keys if len({values.get(key) for values in every}) > 1]


def _texts(config: Mapping[str, Any]) -> dict[str, str]:
    # No block size is what engines have that have no such option, such as Flower's.
    unset = {"engine.block"} if config.get("engine.block") is None else set()
    return {key: shown(value) for key, value in config.items() if decisive(key) and key not in unset}


def _by_seed(runs: Sequence[Run], repeated: list[Unread]) -> list[Run]:
    """The last run of each seed; the others are said to be repeated."""
    kept: dict[Any, Run] = {}
    for run in runs:
        before = kept.get(run.seed)
        if before is not None:
            # A run that is finished counts for more than one that is not.
            worse, run = sorted((before, run), key=lambda r: r.finished)  # noqa: PLW2901
            repeated.append(Unread(worse.path, f"same configuration and seed as {run.path}"))
        kept[run.seed] = run
    return sorted(kept.values(), key=lambda run: (run.seed is None, run.seed))


def _labels(settings: Sequence[Mapping[str, str]], keys: Sequence[str]) -> list[str]:
    """A text for each group: values of as few keys as tell them apart."""
    labels = [""] * len(settings)
    _name(list(range(len(settings))), settings, keys, labels)
    return [label or "all" for label in labels]


def _name(
    alike: list[int], settings: Sequence[Mapping[str, str]], keys: Sequence[str], labels: list[str]
) -> None:
    """Adds to the labels of groups that are called alike what tells most of them apart, until none are."""
    if len(alike) < 2:
        return
    differ = differing([{k: v for k, v in settings[place].items() if k in keys} for place in alike])
    if not differ:
        return
    key = max(
        differ,
        key=lambda k: (k in _FIRST, -_FIRST.index(k) if k in _FIRST else 0, _kinds(k, alike, settings)),
    )
    sides: dict[str | None, list[int]] = {}
    for place in alike:
        sides.setdefault(settings[place].get(key), []).append(place)
    for value, places in sides.items():
        text = _said(key, value)
        for place in places:
            labels[place] = f"{labels[place]} {text}".strip()
        _name(places, settings, [k for k in keys if k != key], labels)


def _kinds(key: str, alike: Sequence[int], settings: Sequence[Mapping[str, str]]) -> int:
    return len({settings[place].get(key) for place in alike})


def _said(key: str, value: str | None) -> str:
    if value is None:
        return f"without {key}"
    return Path(value).name if key == "strategy" else f"{key.removeprefix('strategy.')}={value}"
