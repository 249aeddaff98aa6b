"""Finding things by name: a module of a package is a member, and ``package.module:function`` is a user's own.

Adding a data set, a partition or a model is therefore adding one file; there is no list to keep.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, get_args, get_origin

from fedsparse.errors import ConfigError
from fedsparse.words import nearest

__all__ = ["Members"]

WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class Members:
    """The members of one package.

    Args:
        package: the package whose modules are the members; names that start with ``_`` are helpers.
        function: what each module defines, and what a user's import path stands for.
        kind: the word for a member in messages, e.g. ``"data set"``.
        given: the parameters that the caller fills in; every other one is an option.
    """

    package: str
    function: str
    kind: str
    given: tuple[str, ...]

    def names(self) -> list[str]:
        """All members in alphabetical order, without importing them."""
        modules = pkgutil.iter_modules(import_module(self.package).__path__)
        return sorted(m.name for m in modules if not m.name.startswith("_") and not m.ispkg)

    def module(self, name: str) -> ModuleType:
        """The module of a member.

        Raises:
            ConfigError: there is no such member; the text lists them and the nearest.
        """
        names = self.names()
        if name not in names:
            near = nearest(name, names)
            hint = f" Did you mean {near!r}?" if near else ""
            raise ConfigError(
                f"there is no {self.kind} {name!r}; there are {', '.join(names)}, "
                f"and your own as package.module:name.{hint}"
            )
        return import_module(f"{self.package}.{name}")

    def get(self, name: str) -> Callable[..., Any]:
        """The function of a member, or whatever callable an import path names.

        Raises:
            ConfigError: there is no such member, or the path cannot be imported.
        """
        if ":" in name:
            return self._imported(name)
        function: Callable[..., Any] = getattr(self.module(name), self.function)
        return function

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """The options of a member with their evaluated annotations and defaults, in order of definition."""
        return self._options(self.get(name))

    def checked(self, name: str, options: Mapping[str, object]) -> Callable[..., Any]:
        """The function of ``name``, once every one of ``options`` is known to be an option of its type.

        Raises:
            ConfigError: the name or an option does not exist, or a value is of another type.
        """
        function = self.get(name)
        known = self._options(function)
        open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
        for key, value in options.items():
            if key in known:
                self._check_type(name, known[key], value)
            elif not open_ended:
                near = nearest(key, known)
                hint = f" Did you mean {near!r}?" if near else ""
                raise ConfigError(
                    f"{self.kind} {name!r} has no option {key!r}; it has {', '.join(known) or 'none'}.{hint}"
                )
        return function

    def _check_type(self, name: str, option: inspect.Parameter, value: object) -> None:
        if not _fits(value, option.annotation):
            words = WORDS.get(option.annotation, "a list of whole numbers")
            raise ConfigError(f"{self.kind} {name!r}: {option.name}={value!r} must be {words}")

    def _options(self, function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
        try:
            parameters = inspect.signature(function, eval_str=True).parameters
        except NameError:  # a user's annotations may be for type checkers only
            parameters = inspect.signature(function).parameters
        return {key: value for key, value in parameters.items() if key not in self.given}

    def _imported(self, path: str) -> Callable[..., Any]:
        module, _, attribute = path.partition(":")
        try:
            found = getattr(import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"the {self.kind} {path!r} cannot be imported: {error}; write package.module:name, "
                f"and see that the package is installed or lies in a folder of PYTHONPATH"
            ) from error
        if not callable(found):
            raise ConfigError(f"the {self.kind} {path!r} is a {type(found).__name__}; it must be callable")
        return found  # type: ignore[no-any-return]


def _fits(value: object, annotation: object) -> bool:
    """Whether a value is of an annotated type; annotations of other kinds are the function's own business."""
    if annotation in (int, float):
        kinds = (int,) if annotation is int else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool)
    if annotation in (bool, str):
        return isinstance(value, bool if annotation is bool else str)
    if get_origin(annotation) is tuple and get_args(annotation) == (int, ...):
        return (
            isinstance(value, Sequence) and not isinstance(value, str) and all(_fits(v, int) for v in value)
        )
    return True
