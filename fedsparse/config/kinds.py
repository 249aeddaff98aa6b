"""The kinds of groups: members that are dataclasses, functions, or profiles of the network model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from fedsparse import registry
from fedsparse.config.objects import as_typed, made, specs_of
from fedsparse.config.specs import OptionSpec, of_dataclass, of_function, shown
from fedsparse.errors import ConfigError
from fedsparse.words import there_are

__all__ = ["PROFILES", "Dataclasses", "Functions", "Group", "Networks", "check_options"]


class Group(Protocol):
    """One key of the command line that chooses among members. Names and summaries import no member."""

    def names(self) -> list[str]:
        """What can be chosen, by name."""

    def summary(self, name: str) -> str:
        """One line about a member; empty where it has none."""

    def check(self, name: str) -> None:
        """Refuses a name that cannot be a member's, without importing anything.

        Raises:
            ConfigError: says which there are, and the nearest.
        """

    def options(self, name: str) -> list[OptionSpec]:
        """The options of a member, in order; imports that member."""

    def about(self, name: str) -> str:
        """The whole docstring of a member."""

    def member(self, name: str) -> Any:
        """The class or function that a name stands for.

        Raises:
            ConfigError: there is none, or it cannot be imported.
        """

    def build(self, name: str, options: Mapping[str, Any]) -> object:
        """The member with these options.

        Raises:
            ConfigError: an option is unknown, of the wrong type or out of range.
        """


_NOUNS = {"uplink": "compressor", "downlink": "compressor", "data": "data set", "mixing": "mixing rule"}


@dataclass(frozen=True)
class _Named:
    """What all groups do with names: ``members()`` gives each one's summary."""

    key: str
    members: Callable[[], Mapping[str, str]]
    paths: bool = field(default=True, kw_only=True)
    """Whether ``package.module:name`` may be chosen too."""

    def names(self) -> list[str]:
        """See :meth:`Group.names`."""
        return list(self.members())

    def summary(self, name: str) -> str:
        """See :meth:`Group.summary`."""
        return self.members().get(name, "")

    def check(self, name: str) -> None:
        """See :meth:`Group.check`."""
        names = self.names()
        if name in names or (self.paths and registry.is_path(name)):
            return
        own = ", and your own as package.module:name" if self.paths else ""
        noun = _NOUNS.get(self.key, self.key)
        raise ConfigError(f"{self.key}={name}: no such {noun}{there_are(name, names)}{own}")


@dataclass(frozen=True)
class Dataclasses(_Named):
    """Members are dataclasses; their fields are the options.

    Args:
        key: the group's key.
        members: their names, each with its summary.
        get: the class of a name.
        schedules: whether float options may be schedules.
        elsewhere: fields that are groups of their own.
    """

    get: Callable[[str], type]
    schedules: bool = False
    elsewhere: frozenset[str] = frozenset()

    def member(self, name: str) -> type:
        """See :meth:`Group.member`."""
        return self.get(name)

    def options(self, name: str) -> list[OptionSpec]:
        """See :meth:`Group.options`."""
        return [s for s in specs_of(self.get(name), schedules=self.schedules) if s.name not in self.elsewhere]

    def about(self, name: str) -> str:
        """See :meth:`Group.about`."""
        return inspect.getdoc(self.get(name)) or ""

    def build(self, name: str, options: Mapping[str, Any]) -> object:
        """See :meth:`Group.build`."""
        check_options(self.key, name, self.options(name), options)
        return made(self.get(name), options, self.key, schedules=self.schedules)


@dataclass(frozen=True)
class Functions(_Named):
    """Members are functions; the parameters that the caller does not fill in are the options.

    Args:
        key: the group's key.
        members: their names, each with its summary.
        function: ``module:function`` of a member, with ``{}`` for its name.
        given: the parameters that the caller fills in.
        caller: ``module:function`` that takes a member's name first, and its options as keywords.
        trial: finds values of a shipped member's options that make no sense.
    """

    function: str
    given: frozenset[str]
    caller: str
    trial: Callable[[Callable[..., Any], dict[str, Any]], None] | None = None

    def options(self, name: str) -> list[OptionSpec]:
        """See :meth:`Group.options`."""
        return of_function(self.member(name), self.given)

    def about(self, name: str) -> str:
        """See :meth:`Group.about`."""
        function = self.member(name)
        return inspect.getdoc(function if registry.is_path(name) else inspect.getmodule(function)) or ""

    def build(self, name: str, options: Mapping[str, Any]) -> object:
        """See :meth:`Group.build`."""
        specs = {spec.name: spec for spec in self.options(name)}
        check_options(self.key, name, list(specs.values()), options)
        values = {option: specs[option].read(value, f"{self.key}.") for option, value in options.items()}
        if self.trial and not registry.is_path(name):
            try:
                self.trial(self.member(name), values)
            except ConfigError as error:
                raise ConfigError(as_typed(str(error), self.key, values, options)) from None
        return partial(_imported(self.caller), name, **values)

    def check(self, name: str) -> None:
        """See :meth:`Group.check`."""
        if name.partition(":")[0].endswith(".py"):
            raise ConfigError(f"{self.key}={name}: write package.module:name, with its folder in PYTHONPATH")
        super().check(name)

    def member(self, name: str) -> Callable[..., Any]:
        """See :meth:`Group.member`."""
        self.check(name)
        if registry.is_path(name):
            return registry.by_path(self.key, name, self._callable)
        return _imported(self.function.format(name))

    def _callable(self, found: object, path: str) -> Callable[..., Any]:
        if not callable(found):
            raise ConfigError(f"{self.key}={path}: is a {type(found).__name__}; write package.module:name")
        return found


_LINKS = frozenset({"up", "down", "latency", "speed", "jitter"})

PROFILES: dict[str, tuple[str, frozenset[str]]] = {
    "constant": ("All clients have the same bandwidth, delay and speed.", _LINKS),
    "lognormal": (
        "Bandwidth, delay and speed differ between clients; the values given are medians.",
        _LINKS | {"up_spread", "down_spread", "latency_spread", "speed_spread"},
    ),
    "none": ("Everything takes no time.", frozenset()),
    "trace": ("Bandwidth, delay and speed are read from a CSV file.", frozenset({"trace", "jitter"})),
}


@dataclass(frozen=True)
class Networks(_Named):
    """Members are the profiles of the one network model, each with the options that have an effect in it."""

    def member(self, name: str) -> type:
        """See :meth:`Group.member`."""
        from fedsparse.network import Network

        self.check(name)
        return Network

    def options(self, name: str) -> list[OptionSpec]:
        """See :meth:`Group.options`."""
        return [spec for spec in of_dataclass(self.member(name)) if spec.name in PROFILES[name][1]]

    def about(self, name: str) -> str:
        """See :meth:`Group.about`."""
        return f"{self.summary(name)}\n\n{inspect.getdoc(self.member(name)) or ''}"

    def build(self, name: str, options: Mapping[str, Any]) -> object:
        """See :meth:`Group.build`."""
        check_options(self.key, name, self.options(name), options)
        try:
            return made(self.member(name), {**options, "profile": name}, self.key)
        except ConfigError as error:
            # From Python it is a field, on the command line it is the choice itself.
            raise ConfigError(str(error).replace(f"{self.key}.profile=", f"{self.key}=")) from None


def _imported(path: str) -> Callable[..., Any]:
    module, _, function = path.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


def check_options(key: str, name: str, specs: list[OptionSpec], options: Mapping[str, Any]) -> None:
    """Refuses options that a member does not have.

    Raises:
        ConfigError: names the option, those there are, and the nearest.
    """
    known = [spec.name for spec in specs]
    for option, value in options.items():
        if option not in known:
            member = key if name == key else f"{key}={name}"
            raise ConfigError(
                f"{key}.{option}={shown(value)}: {member} has no option '{option}'"
                f"{there_are(option, known, 'it has')}"
            )
