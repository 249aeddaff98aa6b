"""Finding strategies, topologies, mixing rules and trainers: one file is one member, and its file name is its name.

A member is a file of the installed package, an entry point of another package in the group of the same name,
``package.module:Class``, or ``path/to/file.py``; of the same name the first. Listing names imports nothing;
taking a member imports that one.

A third party's ``pyproject.toml``::

    [project.entry-points."fedsparse.strategies"]
    mine = "their_package.mine"            # a module with one strategy, or "their_package.mine:Mine"
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from fedsparse import sources
from fedsparse.errors import ConfigError
from fedsparse.words import nearest, there_are

__all__ = ["Registry", "by_path", "from_files", "is_path", "mixings", "strategies", "topologies", "trainers"]

Found = TypeVar("Found")


@dataclass(frozen=True)
class Registry:
    """The members of one kind.

    Args:
        kind: the word in messages and the key on the command line, e.g. ``"strategy"``.
        package: the package whose modules are the members; also the group of entry points.
        is_member: tells the class that a module is there for.
    """

    kind: str
    package: str
    is_member: Callable[[type], bool]

    def names(self) -> list[str]:
        """All names in alphabetical order, without importing anything."""
        return sorted({*sources.modules(self.package), *(point.name for point in self._points())})

    def summary(self, name: str) -> str:
        """The first line of a member's file, without importing it; of a plug-in, where it comes from."""
        file = sources.modules(self.package).get(name)
        if file is not None:
            return sources.first_line(file)
        origins = [_origin(point) for point in self._points() if point.name == name]
        return f"(plug-in from {origins[0]})" if origins else ""

    def get(self, name: str) -> type:
        """The class of a member.

        Raises:
            ConfigError: there is none, it cannot be imported, or its file has no such class or several.
        """
        if is_path(name):
            return by_path(self.kind, name, self._only)
        if name in sources.modules(self.package):
            return self._only(_imported(self.kind, name, f"{self.package}.{name}"), name)
        points = [point for point in self._points() if point.name == name]
        if not points:
            raise ConfigError(f"{self.kind}={name}: no such {self.kind}{there_are(name, self.names())}")
        if len({point.value for point in points}) > 1:
            several = ", ".join(f"{point.value} from {_origin(point)}" for point in points)
            raise ConfigError(
                f"{self.kind}={name}: several packages bring one ({several}); write package.module:Class"
            )
        return self._loaded(points[0])

    def name_of(self, cls: type) -> str:
        """The name that finds a class: that of its file, or ``module:Class`` outside of the package."""
        package, _, file = cls.__module__.rpartition(".")
        return file if package == self.package else f"{cls.__module__}:{cls.__qualname__}"

    def _points(self) -> tuple[EntryPoint, ...]:
        return tuple(entry_points(group=self.package))

    def _loaded(self, point: EntryPoint) -> type:
        try:
            found = point.load()
        except Exception as error:
            raise _broken(
                self.kind, point.name, f"the plug-in {_origin(point)} ({point.value})", error
            ) from error
        return self._only(found, point.name)

    def _only(self, found: ModuleType | object, name: str) -> type:
        """The member that an import gave: a class itself, or the only one that a module defines."""
        if isinstance(found, type):
            if not self.is_member(found):
                raise ConfigError(f"{self.kind}={name}: {found.__qualname__} is not a {self.kind}")
            return found
        if not isinstance(found, ModuleType):
            raise ConfigError(
                f"{self.kind}={name}: is a {type(found).__name__}; a class of a {self.kind} is needed"
            )
        made = [c for c in vars(found).values() if isinstance(c, type) and c.__module__ == found.__name__]
        members = [c for c in made if self.is_member(c) and not c.__name__.startswith("_")]
        if len(members) != 1:
            seen = ", ".join(c.__name__ for c in members) or "none"
            raise ConfigError(
                f"{self.kind}={name}: {found.__file__} must define one {self.kind}, it defines {seen}"
            )
        return members[0]


def is_path(name: str) -> bool:
    """Whether a name is ``package.module:Class`` or ``path/to/file.py`` rather than a member's name."""
    return ":" in name or name.endswith(".py")


def by_path(kind: str, name: str, take: Callable[[object, str], Found]) -> Found:
    """What a path names, through ``take(found, name)``.

    Args:
        kind: the word in messages.
        name: ``package.module:attribute``, ``path/to/file.py`` or ``path/to/file.py:attribute``.
        take: checks what was found, a module or an attribute, and gives the result.

    Raises:
        ConfigError: it cannot be imported, or has no such attribute.
    """
    module_name, _, attribute = name.partition(":")
    module = (
        _of_file(kind, module_name) if module_name.endswith(".py") else _imported(kind, name, module_name)
    )
    if not attribute:
        return take(module, name)
    if not hasattr(module, attribute):
        public = [n for n in vars(module) if not n.startswith("_")]
        near = nearest(attribute, public)
        hint = f"; did you mean '{near}'?" if near else ""
        raise ConfigError(f"{kind}={name}: {module_name} has no {attribute}{hint}")
    return take(getattr(module, attribute), name)


def from_files() -> list[ModuleType]:
    """The modules taken from a path: other processes cannot import them by name, so they travel by value."""
    return [sys.modules[name] for name in _FROM_FILES if name in sys.modules]


_FROM_FILES: set[str] = set()


def _of_file(kind: str, path: str) -> ModuleType:
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise ConfigError(f"{kind}={path}: there is no file {file}")
    # The name follows from the place, so that a second look finds the same module and the same classes.
    name = f"{file.stem}_{blake2b(str(file).encode(), digest_size=6).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{kind}={path}: {file} is not a Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _broken(kind, path, str(file), error) from error
    _FROM_FILES.add(name)
    return module


def _imported(kind: str, name: str, module: str) -> ModuleType:
    try:
        return import_module(module)
    except Exception as error:
        raise _broken(kind, name, module, error) from error


def _broken(kind: str, name: str, what: str, error: Exception) -> ConfigError:
    text = " ".join(str(error).split()) or "no message"
    return ConfigError(f"{kind}={name}: {what} cannot be imported: {type(error).__name__}: {text}")


def _origin(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value


def _is_strategy(found: type) -> bool:
    from fedsparse.protocol import Strategy  # brings torch, which names and help do without

    return issubclass(found, Strategy) and found is not Strategy


def _is_topology(found: type) -> bool:
    from fedsparse.graphs import Topology  # brings networkx and SciPy

    return issubclass(found, Topology) and found is not Topology


def _is_mixing(found: type) -> bool:
    from fedsparse.graphs import Mixing

    return issubclass(found, Mixing) and found is not Mixing


def _is_trainer(found: type) -> bool:
    from fedsparse.cohort.trainer import Trainer

    return issubclass(found, Trainer) and found is not Trainer


strategies = Registry("strategy", "fedsparse.strategies", _is_strategy)
"""The algorithms."""

topologies = Registry("topology", "fedsparse.topologies", _is_topology)
"""The communication graphs."""

mixings = Registry("mixing", "fedsparse.mixing", _is_mixing)
"""The rules that make mixing matrices from graphs."""

trainers = Registry("trainer", "fedsparse.trainers", _is_trainer)
"""The sparse trainers."""
