"""Objects from options: the fields of a dataclass as they are typed, and parts of something else as text.

A compressor, a topology or a mixing rule that is an option of something else is one text: ``qsgd``, or
``qsgd(levels=4)``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import yaml  # type: ignore[import-untyped]

from fedsparse import registry, schedule
from fedsparse.config.specs import OptionSpec, of_dataclass, shown
from fedsparse.errors import ConfigError
from fedsparse.options import validate
from fedsparse.registry import by_path, is_path
from fedsparse.theory import FromTheory
from fedsparse.words import there_are

if TYPE_CHECKING:
    from fedsparse.compress import Compressor

__all__ = [
    "as_typed",
    "compressor_class",
    "made",
    "part",
    "plain",
    "specs_of",
    "text_of",
]

Made = TypeVar("Made")


def specs_of(cls: type, *, schedules: bool = False) -> list[OptionSpec]:
    """The options of a dataclass; a compressor, a topology or a mixing rule among them is text.

    Args:
        cls: the dataclass.
        schedules: whether its float fields may be schedules.
    """
    return of_dataclass(cls, schedules=schedules, nested=tuple(_kinds()), text_of=text_of)


def made(cls: type[Made], options: Mapping[str, object], key: str, *, schedules: bool = False) -> Made:
    """An object of a dataclass, checked.

    Args:
        cls: the dataclass.
        options: as typed.
        key: starts messages, e.g. ``"uplink"``.
        schedules: whether its float fields may be schedules.

    Raises:
        ConfigError: an option is unknown, of the wrong type or out of range.
    """
    specs = {spec.name: spec for spec in specs_of(cls, schedules=schedules)}
    values = {}
    for name, value in options.items():
        if name not in specs:
            raise ConfigError(f"{key}.{name}={shown(value)}: no such option{there_are(name, specs)}")
        values[name] = _object(specs[name], value, key)
    try:
        thing = cls(**values)
        validate(thing)
    except ConfigError as error:
        raise ConfigError(as_typed(str(error), key, values, options)) from None
    return thing


def _object(spec: OptionSpec, value: object, key: str) -> Any:
    read = spec.read(value, f"{key}.")
    if spec.nested and isinstance(read, list):
        return tuple(part(text, spec.nested, f"{key}.{spec.name}") for text in read)
    if spec.nested and read is not None:
        return part(read, spec.nested, f"{key}.{spec.name}")
    if spec.theory and read == str(FromTheory()):
        return FromTheory()
    if spec.schedules and isinstance(read, str):
        return schedule.parse(read)
    return read


def as_typed(text: str, key: str, values: Mapping[str, object], options: Mapping[str, object]) -> str:
    """A message of the object's own check, with the whole key and with the value as it was typed."""
    text = text.removeprefix(f"{key}.")
    for name, value in values.items():
        if text.startswith(f"{name}={value}:"):
            return f"{key}.{name}={shown(options[name])}:" + text.removeprefix(f"{name}={value}:")
    return f"{key}.{text}" if text.partition("=")[0] in values else f"{key}: {text}"


def plain(thing: Any) -> dict[str, Any]:
    """The options that :func:`made` makes an equal object from."""
    values = {spec.name: getattr(thing, spec.name) for spec in specs_of(type(thing))}
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return text_of(value) if isinstance(value, tuple(_kinds())) else value


def compressor_class(name: str, key: str = "uplink") -> type[Compressor]:
    """The compressor of a name, of ``package.module:Class`` or of ``path/to/file.py:Class``.

    Args:
        name: as typed.
        key: the option it was given for; starts the message.

    Raises:
        ConfigError: there is none.
    """
    from fedsparse import compress

    def take(found: object, path: str) -> type[Compressor]:
        if isinstance(found, type) and issubclass(found, compress.Compressor):
            return found
        raise ConfigError(f"{key}={path}: is not a compressor; write package.module:Class")

    if is_path(name):
        return by_path(key, name, take)
    names = compress.names()
    if name not in names:
        raise ConfigError(f"{key}={name}: no such compressor{there_are(name, names)}")
    return compress.get(name)


def part(text: str, kind: type, key: str) -> Any:
    """The compressor, topology or mixing rule of a text.

    Args:
        text: ``name`` or ``name(option=value,...)``.
        kind: its base class.
        key: the option it was given for; starts the message.

    Raises:
        ConfigError: it is not one, or an option is unknown or wrong.
    """
    found = re.fullmatch(r"\s*([^()\s]+)\s*(?:\((.*)\))?\s*", text)
    if found is None:
        raise ConfigError(f"{key}={text}: must be a {kind.__name__.lower()}, name or name(option=value,...)")
    return made(_kinds()[kind].get(found[1], key), _pairs(found[2] or "", key), key)


def text_of(thing: Any) -> str:
    """The shortest text that :func:`part` makes an equal object from."""
    usual = {f.name: f.default for f in fields(thing)}
    options = {
        name: value
        for name, value in plain(thing).items()
        if usual[name] is MISSING or getattr(thing, name) != usual[name]
    }
    name = next(kind for base, kind in _kinds().items() if isinstance(thing, base)).name_of(type(thing))
    return f"{name}({','.join(f'{k}={shown(v)}' for k, v in options.items())})" if options else name


def _pairs(text: str, key: str) -> dict[str, object]:
    # Commas inside brackets belong to a value.
    parts = re.findall(r"(?:[^,()\[\]]|\([^()]*\)|\[[^\[\]]*\])+", text)
    options = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"{key}: '{part.strip()}' must be option=value, as in qsgd(levels=4)")
        options[name.strip()] = yaml.safe_load(value)
    return options


def _compressor_name(cls: type[Compressor]) -> str:
    from fedsparse import compress

    return compress.name_of(cls)


class _Kind(NamedTuple):
    """What may be an option of something else: its base class, finding it by name, and its name."""

    module: str
    base: str
    get: Callable[[str, str], type]
    name_of: Callable[[type], str]


_KINDS = (
    _Kind("fedsparse.compress", "Compressor", compressor_class, _compressor_name),
    _Kind(
        "fedsparse.graphs",
        "Topology",
        lambda name, _: registry.topologies.get(name),
        registry.topologies.name_of,
    ),
    _Kind("fedsparse.graphs", "Mixing", lambda name, _: registry.mixings.get(name), registry.mixings.name_of),
)


def _kinds() -> dict[type, _Kind]:
    # Who has not imported such a class has no object of it: the overview of the help does without torch.
    return {
        getattr(sys.modules[kind.module], kind.base): kind for kind in _KINDS if kind.module in sys.modules
    }
