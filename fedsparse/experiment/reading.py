"""From a YAML file to an experiment, or a text that says what is wrong with it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml  # type: ignore[import-untyped]

from fedsparse.errors import ConfigError
from fedsparse.experiment.form import Base, Experiment, Method, Panel, Preparation, Tune
from fedsparse.experiment.trends import Trend
from fedsparse.words import listed, there_are

__all__ = ["read"]

_T = TypeVar("_T")
_LISTS = {"methods": Method, "panels": Panel, "prepare": Preparation, "expected": Trend}
_FILLED = re.compile(r"\{(\w+)\}")


def read(path: Path, variant: str) -> Experiment:
    """The experiment of a file.

    Args:
        path: the YAML file.
        variant: one of :data:`~fedsparse.experiment.form.VARIANTS`; what stands under ``quick`` counts before the rest.

    Raises:
        ConfigError: it cannot be read, a key is missing or unknown, or parts do not go together.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: must be a mapping with the keys of an experiment, such as title and task")
    quick = found.pop("quick", {}) or {}
    if variant == "quick":
        quick = {"expected": [], **quick}
        for key in ("tune", "base"):
            if quick.get(key) and key in found:
                quick[key] = {**found[key], **quick[key]}
        found |= quick
    return _checked(_experiment(found, str(path)), str(path))


def _experiment(found: Mapping[str, Any], where: str) -> Experiment:
    made = dict(found)
    for key, kind in _LISTS.items():
        if key in made:
            if not isinstance(made[key], list):
                raise ConfigError(f"{where}: {key}: must be a list")
            made[key] = [_made(kind, each, f"{where}: {key}") for each in made[key]]
    if made.get("tune") is not None:
        made["tune"] = _made(Tune, made["tune"], f"{where}: tune")
    if made.get("base") is not None:
        made["base"] = _made(Base, made["base"], f"{where}: base")
    return _made(Experiment, made, where)


def _made(kind: type[_T], values: Any, where: str) -> _T:
    """An object of a dataclass from a mapping."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: {values!r} must be a mapping")
    fields = {each.name: each for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ConfigError(f"{where}: there is no key '{key}'{there_are(str(key), list(fields))}")
    missing = [
        name
        for name, each in fields.items()
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    ]
    lacking = [name for name in missing if name not in values]
    if lacking:
        raise ConfigError(f"{where}: {listed(lacking)} must be given")
    return kind(**values)


def _checked(made: Experiment, where: str) -> Experiment:
    from fedsparse.report.axes import AXES

    labels, panels = [m.label for m in made.methods], [p.label for p in made.panels]
    prepared = [each.name for each in made.prepare]
    for what, names in (("method", labels), ("panel", panels), ("seed", list(map(str, made.seeds)))):
        _check_once(what, names, where)
    if prepared:
        _check_once("name of prepare", prepared, where)
    for word, name in _filled(made):
        if name not in prepared:
            raise ConfigError(f"{where}: {word}: nothing of that name is prepared{there_are(name, prepared)}")
    if made.against not in AXES:
        raise ConfigError(f"{where}: against: {made.against}{there_are(made.against, list(AXES))}")
    for trend in made.expected:
        trend.check(labels, panels, where)
    for label in made.tune.own if made.tune else ():
        if label not in labels:
            raise ConfigError(f"{where}: tune: own: '{label}' is no method{there_are(label, labels)}")
    both = sorted(set(made.tune.seeds) & set(made.seeds)) if made.tune else []
    if both:
        raise ConfigError(
            f"{where}: seed {both[0]}: values are chosen with it, which would favour them; give others"
        )
    return made


def _check_once(what: str, names: list[str], where: str) -> None:
    if len(set(names)) < len(names) or not names:
        raise ConfigError(f"{where}: each {what} must be there once, and there must be one: {listed(names)}")


def _filled(made: Experiment) -> Iterator[tuple[str, str]]:
    """The words that name something prepared, and what they call it."""
    parts = [made.task, made.words, *(p.words for p in made.panels), *(m.words for m in made.methods)]
    for word in (word for words in parts for word in words):
        for name in _FILLED.findall(word):
            yield word, name
