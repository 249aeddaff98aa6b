"""What a reader must know before believing a comparison: other data, budgets, tunings or versions; few seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedsparse.report.course import Run
from fedsparse.report.groups import Group
from fedsparse.tuning import unlike

__all__ = ["METHOD", "warnings"]

METHOD = ("strategy", "uplink", "downlink", "aggregator", "topology", "mixing", "trainer", "sampler")
"""What a comparison is usually about: where nothing else is declared, groups may differ in these."""

_BUDGET = ("rounds", "cohort", "batch", "deadline", "over_select")
_TASK = ("data", "partition", "clients", "validation", "model", "network", "faults")
_NAMED = 3


def warnings(groups: Sequence[Group], declared: Sequence[str]) -> list[str]:
    """A sentence for each thing in which groups differ, or their runs, that was not declared.

    Args:
        groups: what is compared.
        declared: keys that are meant to differ, with all their options; empty: those of :data:`METHOD`.
    """
    found = _settings(groups, declared or METHOD)
    found += _versions(groups)
    found += [sentence[0].upper() + sentence[1:] for sentence in unlike(_tunings(groups))]
    found += _seeds(groups)
    return found


def _settings(groups: Sequence[Group], declared: Sequence[str]) -> list[str]:
    keys = dict.fromkeys(key for group in groups for key in group.settings)
    undeclared = [
        key for key in keys if not any(key == name or key.startswith(f"{name}.") for name in declared)
    ]
    # Options of another data set differ by nature; the name says it.
    named = {key for key in undeclared if "." not in key}
    told = [key for key in undeclared if key.partition(".")[0] not in named or key in named]
    return [_differ(_what(key), {g.label: g.settings.get(key, "none") for g in groups}) for key in told]


def _what(key: str) -> str:
    first = key.partition(".")[0]
    if first in _BUDGET:
        return f"Unequal budgets: {key}"
    return f"Different tasks: {key}" if first in _TASK else f"Not only the declared factor differs: {key}"


def _versions(groups: Sequence[Group]) -> list[str]:
    names = dict.fromkeys(name for group in groups for run in group.runs for name in run.versions)
    found = []
    for name in names:
        values = {g.label: " and ".join(dict.fromkeys(_short(run, name) for run in g.runs)) for g in groups}
        if len(set(values.values())) > 1 or any(" and " in value for value in values.values()):
            found.append(_differ(f"Different versions: {name}", values))
    return found


def _short(run: Run, name: str) -> str:
    value = str(run.versions.get(name, "unknown"))
    return value[:10] if name == "commit" else value


def _tunings(groups: Sequence[Group]) -> Mapping[str, Mapping[str, Any] | None]:
    return {group.label: group.runs[0].tuning for group in groups}


def _seeds(groups: Sequence[Group]) -> list[str]:
    found = []
    seeds = {group.label: ",".join(str(run.seed) for run in group.runs) for group in groups}
    if len(set(seeds.values())) > 1:
        found.append(f"{_differ('Different seeds', seeds)}; tests use those in common")
    single = [group.label for group in groups if len(group.runs) == 1]
    if single and len(groups) > 1:
        found.append(f"One seed only: {few(single)}; no interval, and no difference can be called real")
    return found


def _differ(what: str, values: Mapping[str, str]) -> str:
    sides: dict[str, list[str]] = {}
    for label, value in values.items():
        sides.setdefault(value, []).append(label)
    return (
        f"{what}: "
        + " against ".join(f"{value} ({few(labels)})" for value, labels in list(sides.items())[:_NAMED])
        + (f" and {len(sides) - _NAMED} other values" if len(sides) > _NAMED else "")
    )


def few(names: Sequence[str]) -> str:
    """The names with commas; of many the first three and how many more."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
