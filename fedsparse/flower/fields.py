"""Reading records of Flower that anybody may have sent: every field is there and of its type, or all is refused."""

from __future__ import annotations

from typing import Any, TypeVar

from flwr.app import ConfigRecord, MetricRecord, RecordDict

from fedsparse.errors import DecodeError

__all__ = ["config_of", "metrics_of", "take", "take_list"]

T = TypeVar("T")


def config_of(content: RecordDict, name: str) -> ConfigRecord:
    """The ConfigRecord of that name.

    Raises:
        DecodeError: there is none.
    """
    found = content.get(name)
    if not isinstance(found, ConfigRecord):
        raise DecodeError(f"record: there is no ConfigRecord '{name}', only {sorted(map(str, content))[:8]}")
    return found


def metrics_of(content: RecordDict, name: str) -> MetricRecord:
    """The MetricRecord of that name.

    Raises:
        DecodeError: there is none.
    """
    found = content.get(name)
    if not isinstance(found, MetricRecord):
        raise DecodeError(f"record: there is no MetricRecord '{name}', only {sorted(map(str, content))[:8]}")
    return found


def take(record: ConfigRecord | MetricRecord, name: str, kind: type[T]) -> T:
    """One field, which must be just of the type ``kind``.

    Raises:
        DecodeError: it is missing or of another type.
    """
    value: Any = record.get(name)
    if type(value) is not kind:
        raise DecodeError(f"{name}: is {type(value).__name__}, expected {kind.__name__}")
    return value


def take_list(record: ConfigRecord, name: str, kind: type[T]) -> list[T]:
    """A list of values of one type.

    Raises:
        DecodeError: it is missing, or has something else in it.
    """
    values = take(record, name, list)
    if any(type(value) is not kind for value in values):
        raise DecodeError(f"{name}: has values that are not {kind.__name__}")
    return values
