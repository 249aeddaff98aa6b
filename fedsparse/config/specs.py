"""What is known about an option: read from the fields of a dataclass or the parameters of a function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import Any, get_args, get_type_hints

from fedsparse import schedule
from fedsparse.config.values import MismatchError, convert, in_words, settable
from fedsparse.errors import ConfigError
from fedsparse.options import allowed as range_of
from fedsparse.options import help_of
from fedsparse.theory import FromTheory

__all__ = ["REQUIRED", "OptionSpec", "of_dataclass", "of_function", "shown"]

REQUIRED = MISSING
"""The default of an option that must be given."""


@dataclass(frozen=True)
class OptionSpec:
    """One option.

    Attributes:
        name: its key, without the group.
        type: an annotation.
        default: of that type, or :data:`REQUIRED`.
        help: one line.
        allowed: the values it may have, in words.
        schedules: whether a number may be a schedule.
        theory: whether a number may be ``theory``.
        nested: the class of the object that the text stands for, such as a compressor inside another.
    """

    name: str
    type: Any
    default: Any
    help: str
    allowed: str
    schedules: bool = False
    theory: bool = False
    nested: type | None = None

    def read(self, value: object, prefix: str = "") -> Any:
        """``value`` in this option's type; a schedule and ``theory`` stay text.

        Args:
            value: as typed.
            prefix: put before the name in messages, e.g. ``"uplink."``.

        Raises:
            ConfigError: it is of another type; ranges are not checked here.
        """
        try:
            return convert(value, self.type)
        except MismatchError:
            if self.schedules and isinstance(value, str) and "(" in value:
                return self._schedule(value, prefix)
            if self.theory and value == str(FromTheory()):
                return value
            about = f" ({self.help})" if self.help else ""
            raise ConfigError(f"{prefix}{self.name}={shown(value)}: must be {self.allowed}{about}") from None

    def _schedule(self, text: str, prefix: str) -> str:
        try:
            schedule.parse(text)
        except ConfigError as error:
            raise ConfigError(f"{prefix}{self.name}: {error}") from None
        return re.sub(r"\s+", "", text)


def shown(value: object) -> str:
    """A value as it is typed on a command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(shown, value)) + "]"
    return str(value)


def of_dataclass(
    cls: type,
    *,
    schedules: bool = False,
    nested: tuple[type, ...] = (),
    text_of: Callable[[Any], str] = str,
) -> list[OptionSpec]:
    """The fields that can be set on a command line, in order; others are left out.

    Args:
        cls: a dataclass.
        schedules: whether its float fields may be schedules.
        nested: fields of these classes, and tuples of such objects, are written as text.
        text_of: the text of an object of such a class.
    """
    hints = get_type_hints(cls)
    specs = []
    for entry in (f for f in fields(cls) if f.init):
        kind = hints[entry.name]
        inner = next((cls for cls in nested if cls in (kind, *get_args(kind))), None)
        if inner is not None:
            specs.append(_nested(entry, kind, inner, text_of))
        elif settable(kind):
            specs.append(_of_field(entry, kind, schedules))
    return [_with_theory(spec, cls) if schedules and spec.name == "lr" else spec for spec in specs]


def _with_theory(spec: OptionSpec, cls: type) -> OptionSpec:
    """A step size, which may follow from theory; that is told of strategies that have a formula."""
    known = getattr(cls, "has_theory_lr", None)
    told = f"{spec.allowed}, or theory" if known is not None and known() else spec.allowed
    return replace(spec, theory=known is not None, allowed=told)


def _default(entry: Field[Any]) -> Any:
    return entry.default_factory() if entry.default_factory is not MISSING else entry.default


def _nested(entry: Field[Any], kind: Any, nested: type, text_of: Callable[[Any], str]) -> OptionSpec:
    default = _default(entry)
    if isinstance(default, nested):
        default = text_of(default)
    noun = f"a {nested.__name__.lower()}, name or 'name(option=value,...)'"
    if Ellipsis in get_args(kind):
        default = [text_of(part) for part in default] if isinstance(default, tuple) else default
        return OptionSpec(
            entry.name, list[str], default, help_of(entry), f"a list [..], each {noun}", nested=nested
        )
    optional = type(None) in get_args(kind)
    word = noun + (" or null" if optional else "")
    return OptionSpec(
        entry.name, str | None if optional else str, default, help_of(entry), word, nested=nested
    )


def _of_field(entry: Field[Any], kind: Any, schedules: bool) -> OptionSpec:
    default = _default(entry)
    may_vary = schedules and (kind is float or float in get_args(kind))
    if isinstance(default, schedule.Schedule):
        default = schedule_text(default)
    return OptionSpec(entry.name, kind, default, help_of(entry), _allowed(entry, kind, may_vary), may_vary)


def _allowed(entry: Field[Any], kind: Any, may_vary: bool) -> str:
    said = range_of(entry)
    whole = kind is int or (int in get_args(kind) and float not in get_args(kind))
    if said.startswith("a number") and whole:
        said = said.replace("a number", "a whole number", 1)
    text = in_words(kind, said or None)
    return f"{text}, or a schedule such as cosine(0.1,0.01)" if may_vary else text


def schedule_text(made: schedule.Schedule) -> str:
    """The text that :func:`fedsparse.schedule.parse` makes this schedule from."""
    names = {
        "Cosine": "cosine",
        "Cubic": "cubic",
        "Linear": "linear",
        "Step": "step",
        "InverseSqrt": "invsqrt",
    }
    numbers = ",".join(f"{getattr(made, f.name)!r}" for f in fields(made))
    return f"{names[type(made).__name__]}({numbers})"


def of_function(function: Callable[..., Any], given: frozenset[str]) -> list[OptionSpec]:
    """The parameters that can be set on a command line, with their lines of the docstring's ``Args`` section.

    Args:
        function: its parameters are annotated.
        given: the parameters that the caller fills in.
    """
    explained = _explained(inspect.getdoc(function) or "")
    parameters = inspect.signature(function, eval_str=True).parameters
    named = [
        p
        for p in parameters.values()
        if p.name not in given and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    specs = [_of_parameter(p, explained.get(p.name, "")) for p in named]
    return [spec for spec in specs if settable(spec.type) or spec.default is REQUIRED]


def _of_parameter(parameter: inspect.Parameter, explained: str) -> OptionSpec:
    kind = Any if parameter.annotation is parameter.empty else parameter.annotation
    default = REQUIRED if parameter.default is parameter.empty else parameter.default
    return OptionSpec(parameter.name, kind, default, explained, in_words(kind))


def _explained(docstring: str) -> Mapping[str, str]:
    """The entries of the ``Args`` section, each on one line."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", docstring, re.MULTILINE)
    if section is None:
        return {}
    entries = re.findall(r"^ {4}(\w+):[ \t]*((?:.*\n?)(?:^ {5,}.*\n?)*)", section[1], re.MULTILINE)
    return {name: " ".join(text.split()).rstrip(".,;") for name, text in entries}
