"""Messages as named arrays that all workers read, and what is needed to put them together again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedsparse.message import Dense, MaskedDense, Payload, concatenate
from fedsparse.wire import pack, unpack

__all__ = ["Shelved", "lay_out"]


@dataclass(frozen=True)
class _Key:
    """Stands for an array among the shared ones."""

    name: str


@dataclass(frozen=True)
class Shelved:
    """Batches of messages without their arrays, by name."""

    parts: tuple[Mapping[str, Any], ...]
    _opened: list[dict[str, list[Payload]]] = field(default_factory=list, repr=False, compare=False)

    def open(self, shared: Mapping[str, np.ndarray]) -> dict[str, list[Payload]]:
        """The messages by name: dense ones in their batches, in the memory of the arrays; others in one batch.

        Workers that are threads have this object in common, which is opened once for all blocks of a phase.
        """
        if not self._opened:  # two threads that come at once both do it, and it is the same
            parts = [unpack(_put_back(part, shared)) for part in self.parts]
            names = parts[0] if parts else {}
            self._opened.append({name: _joined([part[name] for part in parts]) for name in names})
        return self._opened[0]


def lay_out(parts: Sequence[Mapping[str, Payload]], prefix: str) -> tuple[Shelved, dict[str, np.ndarray]]:
    """Takes the arrays out of batches of messages; their names begin with ``prefix``."""
    shared: dict[str, np.ndarray] = {}
    return Shelved(
        tuple(_take_out(pack(part), f"{prefix}{k}", shared) for k, part in enumerate(parts))
    ), shared


def _joined(batches: list[Payload]) -> list[Payload]:
    """One batch of several, where that copies little."""
    dense = isinstance(batches[0], Dense | MaskedDense)
    return batches if dense or len(batches) == 1 else [concatenate(batches)]


def _take_out(value: Any, name: str, shared: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        shared[name] = value
        return _Key(name)
    if isinstance(value, dict):
        return {key: _take_out(part, f"{name}.{key}", shared) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_take_out(part, f"{name}.{k}", shared) for k, part in enumerate(value))
    return value


def _put_back(value: Any, shared: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, _Key):
        return shared[value.name]
    if isinstance(value, dict):
        return {key: _put_back(part, shared) for key, part in value.items()}
    return tuple(_put_back(part, shared) for part in value) if isinstance(value, tuple) else value
