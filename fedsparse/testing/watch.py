"""Looking over a strategy's shoulder: every call of its functions goes through an observer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Protocol, cast

from torch import Tensor

from fedsparse.lazy import cached_property
from fedsparse.message import Payload
from fedsparse.protocol import Start, Strategy

__all__ = ["Observer", "attributes", "fingerprint", "first_difference", "watched"]

Call = Callable[..., Any]

_FUNCTIONS = ("audience", "init", "broadcast", "hear", "client_update", "aggregate")


class Observer(Protocol):
    """Is called instead of a strategy's function, and gives its result."""

    def __call__(self, strategy: Strategy, name: str, call: Call, args: tuple[Any, ...], /) -> Any:
        """``call(*args)`` runs the function ``name`` of ``strategy``; the last argument is the context."""


def watched(strategy: Strategy, observer: Observer) -> Strategy:
    """The same strategy, whose functions go through ``observer``. For one thread."""
    cls = type(strategy)

    def routed(name: str) -> Callable[..., Any]:
        function = getattr(cls, name)

        def method(self: Strategy, *args: Any) -> Any:
            return observer(self, name, lambda *given: function(self, *given), args)

        return method

    # A strategy without `hear` is told by its absence.
    names = [name for name in _FUNCTIONS if name != "hear" or cls.hears()]
    space = {name: routed(name) for name in names} | {"__module__": cls.__module__, "__doc__": cls.__doc__}
    made = cast("type[Strategy]", type(cls.__name__, (cls,), space))
    return made(**{f.name: getattr(strategy, f.name) for f in fields(strategy) if f.init})


def fingerprint(value: Any) -> Any:
    """Something that is equal exactly for values with the same bits."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype, value.detach().contiguous().view(-1).numpy().tobytes()
    if isinstance(value, Payload):
        return type(value).__name__, {f.name: fingerprint(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Start):
        return fingerprint(value.x), fingerprint(value.buffers)
    if isinstance(value, Mapping):
        return {name: fingerprint(v) for name, v in value.items()}
    if isinstance(value, tuple | list):
        return [fingerprint(v) for v in value]
    return repr(value)


def attributes(strategy: Strategy) -> Mapping[str, Any]:
    """Fingerprints of all that a strategy object and its classes remember, by name; cached properties are derived."""
    classes = type(strategy).__mro__[:-1]
    derived = {name for cls in classes for name, v in vars(cls).items() if isinstance(v, cached_property)}
    found = {
        f"{cls.__name__}.{name}": fingerprint(value)
        for cls in classes
        for name, value in vars(cls).items()
        if not name.startswith("__") and not callable(value) and name not in derived
    }
    return found | {name: fingerprint(value) for name, value in vars(strategy).items() if name not in derived}


def first_difference(one: Any, other: Any, path: str = "") -> str | None:
    """The first name under which two fingerprints differ; ``None`` where they are equal."""
    if one == other:
        return None
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        name = next(n for n in [*one, *other] if one.get(n) != other.get(n))
        return first_difference(one.get(name), other.get(name), f"'{name}'")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return next(
            found
            for a, b in zip(one, other, strict=True)
            if (found := first_difference(a, b, path)) is not None
        )
    return path
