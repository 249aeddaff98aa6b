"""From what was typed to a :class:`RunConfig`: names are found, defaults filled in, types and ranges checked.

Cheap checks come first: names and plain values before anything is imported, then only what was chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from fedsparse.config.build import build, check, compressor_slot
from fedsparse.config.groups import DIRECTIONS, FAULTS, GROUPS, OPTIONAL
from fedsparse.config.kinds import check_options
from fedsparse.config.objects import plain
from fedsparse.config.settings import Choice, RunConfig
from fedsparse.config.specs import REQUIRED, OptionSpec, of_dataclass, shown
from fedsparse.errors import ConfigError

__all__ = ["Chosen", "chosen_of", "keys", "plain_keys", "settled", "start_values"]

Given = Mapping[str, Any]
"""Values by dotted key, as typed; of a group the member's name."""


@dataclass(frozen=True)
class Chosen:
    """The members that were chosen, with their options and start values.

    Attributes:
        names: by group, the member; ``None`` where there is none.
        specs: by group that has a member (and ``faults``), its options.
        start: the value of each option before the given ones.
    """

    names: Mapping[str, str | None]
    specs: Mapping[str, list[OptionSpec]]
    start: Mapping[str, Mapping[str, Any]]


@cache
def plain_keys() -> dict[str, OptionSpec]:
    """The keys that are plain values."""
    return {spec.name: spec for spec in of_dataclass(RunConfig)}


def keys() -> list[str]:
    """All keys: groups, ``faults``, plain values."""
    return [*GROUPS, "faults", *plain_keys()]


def chosen_of(given: Given) -> Chosen:
    """What is chosen by the given values.

    Raises:
        ConfigError: an unknown name or option, or a plain value that makes no sense.
    """
    _check_plain(given)
    names = {key: _name(key, given) for key in GROUPS}
    for key, name in names.items():
        if name is not None:
            GROUPS[key].check(name)
    strategy = names["strategy"] or ""
    specs = {"strategy": GROUPS["strategy"].options(strategy), "faults": FAULTS.options("faults")}
    start = {key: _defaults(found) for key, found in specs.items()}
    for key in DIRECTIONS:
        names[key], start[key] = _direction(key, strategy, names[key], given)
    for key, name in names.items():
        if name is None:
            _refuse_options(key, given)
        elif key != "strategy":
            specs[key] = GROUPS[key].options(name)
            start[key] = _defaults(specs[key]) | dict(start.get(key, {}))
    for key, found in specs.items():
        options = {k.partition(".")[2]: v for k, v in given.items() if k.startswith(f"{key}.")}
        check_options(key, names.get(key) or key, found, options)
    return Chosen(names, specs, start)


def start_values(chosen: Chosen, given: Given) -> dict[str, Any]:
    """Every key's value, the default or the given one; of groups and ``faults`` those of their options."""
    tree: dict[str, Any] = {key: spec.default for key, spec in plain_keys().items()}
    tree |= {key: dict(start) for key, start in chosen.start.items()}
    for key, value in given.items():
        group, _, option = key.partition(".")
        if option:
            tree[group][option] = value
        elif key in plain_keys():
            tree[key] = value
    return tree


def settled(chosen: Chosen, tree: Mapping[str, Any], given: Given) -> RunConfig:
    """The configuration, once every value is checked.

    Args:
        chosen: what was chosen.
        tree: values as from :func:`start_values`.
        given: what was typed.

    Raises:
        ConfigError: a value is of the wrong type, out of range, or does not go with another.
    """
    values: dict[str, Any] = _plain({key: tree[key] for key in plain_keys()}, "cohort" in given)
    for key, name in chosen.names.items():
        values[key] = None if name is None else Choice(name, _options(key, chosen, tree))
    config = RunConfig(**values, faults=_options("faults", chosen, tree))
    if "cohort" not in given:
        config = replace(config, cohort=_usual_cohort(config))
    check(config)
    return config


def _usual_cohort(config: RunConfig) -> int:
    """The cohort of a run that names none: all clients where strategy or sampler needs all, else of the usual size."""
    from fedsparse.engine.suits import wants_all

    sampler = build(config, "sampler")
    if wants_all(build(config, "strategy")) or sampler.everybody:
        return config.clients
    able: int = sampler.eligible(config.clients)
    return min(config.cohort, able)


def _check_plain(given: Given) -> None:
    if "faults" in given:
        raise ConfigError(
            f"faults={shown(given['faults'])}: has no value of its own; write faults.option=value"
        )
    for key, value in given.items():
        if key.partition(".")[0] in plain_keys() and "." in key:
            raise ConfigError(f"{key}={shown(value)}: {key.partition('.')[0]} is a value and has no options")
    typed = {k: v for k, v in given.items() if k in plain_keys() and not (isinstance(v, str) and "${" in v)}
    RunConfig(**_plain(typed, "cohort" in typed))


def _plain(typed: Mapping[str, Any], cohort_given: bool) -> dict[str, Any]:
    """Plain values in their types; a cohort that nobody asked for is at most all clients."""
    values = {key: plain_keys()[key].read(value) for key, value in typed.items()}
    clients = values.get("clients", RunConfig.clients)
    if not cohort_given and isinstance(clients, int) and clients >= 1:
        values["cohort"] = min(RunConfig.cohort, clients)
    return values


def _name(key: str, given: Given) -> str | None:
    default: Choice | None = getattr(RunConfig, key)
    name = given.get(key, default.name if default else None)
    if key in OPTIONAL and name in (None, "none"):
        return None
    if not isinstance(name, str) or not name or "${" in name:
        raise ConfigError(f"{key}={shown(name)}: must be a name; options are written {key}.option=value")
    # A run may be resumed from another folder.
    file, colon, attribute = name.partition(":")
    return f"{Path(file).expanduser().resolve()}{colon}{attribute}" if file.endswith(".py") else name


def _defaults(specs: list[OptionSpec]) -> dict[str, Any]:
    return {spec.name: spec.default for spec in specs if spec.default is not REQUIRED}


def _direction(key: str, strategy: str, name: str | None, given: Given) -> tuple[str | None, dict[str, Any]]:
    """The compressor of a direction and its start values: what is chosen, else the strategy's own."""
    from fedsparse import compress

    slot = compressor_slot(strategy, key)
    if slot is None:
        if key == "uplink" and name is not None:
            raise ConfigError(
                f"uplink={name}: strategy={strategy} sends no compressed uplink (it has no field 'uplink'); "
                "leave uplink out, or choose another strategy"
            )
        return name, {}
    if name is not None:
        return name, {}
    if key in given:
        if not slot.optional:
            raise ConfigError(
                f"{key}=none: strategy={strategy} needs a compressor; identity leaves everything as it is"
            )
        return None, {}
    if slot.default is MISSING:
        raise ConfigError(f"strategy={strategy} has no {key} of its own; choose one, as in {key}=topk")
    return (None, {}) if slot.default is None else (compress.name_of(type(slot.default)), plain(slot.default))


def _refuse_options(key: str, given: Given) -> None:
    for option, value in given.items():
        if option.startswith(f"{key}."):
            example = {"mixing": "metropolis", "trainer": "rigl"}.get(key, "topk")
            raise ConfigError(
                f"{option}={shown(value)}: there is no {key} to set it for; choose one, as in {key}={example}"
            )


def _options(key: str, chosen: Chosen, tree: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for spec in chosen.specs[key]:
        if spec.name not in tree[key]:
            raise ConfigError(
                f"{key}={chosen.names[key]}: needs {key}.{spec.name}, {spec.allowed} ({spec.help})"
            )
        values[spec.name] = spec.read(tree[key][spec.name], f"{key}.")
    return values
