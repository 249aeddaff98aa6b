"""The command line's ``key=value`` pairs as configurations: one, or those of a sweep."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from fedsparse.config.files import differences, given_of
from fedsparse.config.groups import GROUPS
from fedsparse.config.overrides import composed, read
from fedsparse.config.resolve import chosen_of, keys, settled, start_values
from fedsparse.config.settings import RunConfig
from fedsparse.errors import ConfigError, RunFolderError

__all__ = ["Job", "elsewhere", "jobs", "parse", "values_of"]

_ELSEWHERE = frozenset({"engine", "resume", "quiet", "runs", "name", "checkpoint_every", "data_dir", "sinks"})


def elsewhere(key: str) -> bool:
    """Whether a dotted key is about where a run takes place: it may differ when the run is resumed.

    ``engine.block`` is not: a user's own problem may give other bits in other blocks.
    """
    return key != "engine.block" and key.partition(".")[0] in _ELSEWHERE


_PATHS = ("data_dir", "runs", "resume")


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        label: what differs from the other runs, e.g. ``strategy=scafcom seed=1``.
        config: the run.
        swept: the keys that differ, each with its value as typed.
    """

    label: str
    config: RunConfig
    swept: Mapping[str, str] = field(default_factory=dict)


def parse(overrides: Sequence[str]) -> RunConfig:
    """The configuration of ``key=value`` pairs; of a key that is given twice the last one counts.

    With ``resume=FOLDER`` the configuration of that run takes the place of the defaults.

    Args:
        overrides: e.g. ``["strategy=scafcom", "strategy.beta=0.2"]``.

    Raises:
        ConfigError: an unknown key, name or option, a wrong type, an absurd value.
        RunFolderError: the folder to resume holds no run.
    """
    return _composed(_read(overrides))


def jobs(overrides: Sequence[str]) -> list[Job]:
    """The configurations of a sweep: all combinations of the values of its keys, the last key fastest.

    Several values are written ``a,b``, ``range(0,3)`` or, for members of a group, ``glob(*)``. A ``name``
    gets the values that differ behind it, so that every run has its own folder.

    Raises:
        ConfigError: one of them cannot be; every run is checked before the first starts.
        RunFolderError: the folder to resume holds no run.
    """
    found = _read(overrides)
    keys_swept = [o.key_or_group for o in found if o.is_sweep_override()]
    made = []
    for texts in _combinations(found):
        job = _read(texts)
        values = {o.key_or_group: o for o in job}
        swept = {key: _bare(values[key]) for key in keys_swept}
        label = " ".join(f"{key}={value}" for key, value in swept.items())
        made.append(Job(label, _named(_composed(job), swept.values()), swept))
    return made


def values_of(override: str) -> list[str]:
    """The values of one ``key=value``, as typed: several where it is a sweep.

    Raises:
        ConfigError: it is not of that form, or the key is unknown.
    """
    return [_bare(_read([text])[0]) for (text,) in _combinations(_read([override]))]


def _combinations(found: list[Override]) -> list[list[str]]:
    try:
        batches = BasicSweeper.split_arguments(found, max_batch_size=None)
    except HydraException as error:
        raise ConfigError(f"the sweep cannot be made: {str(error).splitlines()[0]}") from None
    return [list(texts) for texts in batches[0]]


def _bare(override: Override) -> str:
    return str(override.get_value_string()).strip("'")


def _named(config: RunConfig, values: Iterable[str]) -> RunConfig:
    if config.name is None:
        return config
    parts = [config.name, *(re.sub(r"[^\w.]+", "_", value).strip("_") for value in values)]
    return replace(config, name="-".join(parts))


def _read(texts: Sequence[str]) -> list[Override]:
    last = {o.key_or_group: o for o in (read(t, keys(), lambda group: GROUPS[group].names()) for t in texts)}
    return list(last.values())


def _composed(overrides: Sequence[Override]) -> RunConfig:
    for override in overrides:
        if override.is_sweep_override():
            raise ConfigError(
                f"{override.input_line}: several values make a sweep; add -m, or put them into [..]"
            )
    typed = {o.key_or_group: o.value() for o in overrides}
    base = _resumed(typed) if isinstance(typed.get("resume"), str) else {}
    given = base | typed
    chosen = chosen_of(given)
    start = start_values(chosen, base)
    texts = [o.input_line or "" for o in overrides if o.key_or_group not in GROUPS]
    tree = composed(start, texts)
    for key in _PATHS:
        if isinstance(tree[key], str):
            tree[key] = str(Path(tree[key]).expanduser())
    config = settled(chosen, tree, given)
    if base:
        _same_run(config, base, typed)
    return config


def _same_run(config: RunConfig, base: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
    """Refuses to resume a run as another one."""
    chosen = chosen_of(base)
    changed = differences(settled(chosen, start_values(chosen, base), base), config)
    wrong = [text for text in changed if not elsewhere(text.partition("=")[0])]
    if wrong:
        raise ConfigError(
            f"resume={typed['resume']}: would change {', '.join(wrong)}; of a run that is continued only "
            f"{', '.join(sorted(_ELSEWHERE))} may change. Start a new run instead"
        )


def _resumed(typed: dict[str, Any]) -> dict[str, Any]:
    """The values of the run to resume; without the options of members that are chosen anew."""
    folder = Path(typed["resume"]).expanduser()
    file = folder / "config.yaml"
    if not folder.is_dir():
        raise ConfigError(f"resume={folder}: there is no such folder")
    try:
        kept = given_of(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFolderError(
            f"resume={folder}: cannot be continued, {file.name} cannot be read: {error.strerror}"
        ) from None
    changed = {key for key in GROUPS if key in typed and typed[key] != kept.get(key)}
    return {k: v for k, v in kept.items() if not (k.partition(".")[0] in changed and "." in k)}
