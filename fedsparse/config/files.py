"""Configurations as YAML: ``config.yaml`` of a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import yaml  # type: ignore[import-untyped]

from fedsparse.config.resolve import chosen_of, keys, plain_keys, settled, start_values
from fedsparse.config.settings import Choice, RunConfig
from fedsparse.config.specs import shown
from fedsparse.errors import ConfigError
from fedsparse.words import there_are

__all__ = ["differences", "flat", "from_theory", "from_yaml", "given_of", "to_yaml", "tuning_of"]

_OTHERS = frozenset({"theory", "tuning", "versions"})
"""Sections of ``config.yaml`` that say where numbers come from, and about the run's surroundings."""


def to_yaml(config: RunConfig, surroundings: Mapping[str, Any] | None = None) -> str:
    """The configuration as YAML, in the order of :class:`RunConfig`.

    Args:
        config: the configuration.
        surroundings: sections to add that are no part of it: ``theory``, ``versions``, ``tuning``; not those that
            are ``None``.
    """
    sections = {f.name: _section(getattr(config, f.name)) for f in fields(config)}
    sections |= {k: _section(v) for k, v in (surroundings or {}).items() if v is not None}
    text: str = yaml.safe_dump(sections, sort_keys=False, allow_unicode=True, width=110)
    return text


def _section(value: object) -> object:
    if isinstance(value, Choice):
        return {"name": value.name, "options": _section(value.options)}
    if isinstance(value, Mapping):
        return {key: _section(entry) for key, entry in value.items()}
    return [_section(entry) for entry in value] if isinstance(value, list | tuple) else value


def from_yaml(text: str) -> RunConfig:
    """The configuration of a ``config.yaml``; what is missing in it gets its default.

    Raises:
        ConfigError: it is not one, or something in it no longer exists or makes no sense.
    """
    given = given_of(text)
    chosen = chosen_of(given)
    return settled(chosen, start_values(chosen, given), given)


def given_of(text: str) -> dict[str, Any]:
    """The values of a ``config.yaml`` by dotted key.

    Raises:
        ConfigError: it is not one.
    """
    try:
        sections = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"config.yaml: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(sections, Mapping):
        raise ConfigError(
            "config.yaml: must be a mapping from keys to values; it is not a configuration of a run"
        )
    given: dict[str, Any] = {}
    for key, section in sections.items():
        if key in _OTHERS:
            continue
        if key not in keys():
            raise ConfigError(f"config.yaml: there is no key '{key}'{there_are(str(key), keys())}")
        given |= _entries(key, section)
    return given


def from_theory(text: str) -> dict[str, str]:
    """The keys of a ``config.yaml`` whose numbers nobody typed, and how each follows from theory."""
    found: dict[str, str] = yaml.safe_load(text).get("theory") or {}
    return found


def tuning_of(text: str) -> dict[str, Any] | None:
    """How the values of a ``config.yaml`` were chosen; ``None`` where they were not tuned."""
    found: dict[str, Any] | None = yaml.safe_load(text).get("tuning")
    return found


def _entries(key: str, section: object) -> dict[str, Any]:
    if key in plain_keys() or section is None:
        return {key: section}
    if not isinstance(section, Mapping) or (key != "faults" and "name" not in section):
        raise ConfigError(f"config.yaml: '{key}' must have a name and options, it is {section!r}")
    options = section if key == "faults" else section.get("options") or {}
    named = {} if key == "faults" else {key: section["name"]}
    return named | {f"{key}.{option}": value for option, value in options.items()}


def flat(config: RunConfig) -> dict[str, Any]:
    """The values of a configuration by dotted key, in the order of :class:`RunConfig`."""
    values: dict[str, Any] = {}
    for entry in fields(config):
        value = getattr(config, entry.name)
        if isinstance(value, Choice):
            values[entry.name] = value.name
        elif not isinstance(value, Mapping):
            values[entry.name] = value
        options = value.options if isinstance(value, Choice) else value if isinstance(value, Mapping) else {}
        values |= {f"{entry.name}.{option}": setting for option, setting in options.items()}
    return values


def differences(a: RunConfig, b: RunConfig) -> list[str]:
    """What differs, one text ``key=value of a -> value of b`` for each key; empty where they are equal."""
    first, second = ({key: shown(value) for key, value in flat(config).items()} for config in (a, b))
    keys_of_both = dict.fromkeys([*first, *second])
    return [
        f"{key}={first.get(key, 'absent')} -> {second.get(key, 'absent')}"
        for key in keys_of_both
        if first.get(key) != second.get(key)
    ]
