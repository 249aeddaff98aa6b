"""Batched payloads as plain arrays, to move them between processes without copying or encoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsparse.errors import ProtocolError
from fedsparse.wire.payload import CLASSES, Payload

__all__ = ["Packed", "from_arrays", "pack", "to_arrays", "unpack"]

Packed = tuple[str, dict[str, object]]
"""Name of a payload class, and its fields: arrays, numbers, texts, or one of these for a payload within."""


def to_arrays(payload: Payload) -> Packed:
    """The fields of a payload, its tensors as NumPy views of the same memory."""
    return type(payload).__name__, {f.name: _to_plain(getattr(payload, f.name)) for f in fields(payload)}


def from_arrays(packed: Packed) -> Payload:
    """Undo :func:`to_arrays`; the tensors share the memory of the arrays, which may be read-only.

    Raises:
        ProtocolError: when the class is not known here.
    """
    name, values = packed
    known = {cls.__name__: cls for cls in CLASSES.values()}
    if name not in known:
        raise ProtocolError(f"unknown payload class {name!r}; known are {', '.join(sorted(known))}")
    return known[name](**{key: _from_plain(value) for key, value in values.items()})


def pack(message: Mapping[str, Payload]) -> dict[str, Packed]:
    """:func:`to_arrays` for each payload of a message."""
    return {name: to_arrays(payload) for name, payload in message.items()}


def unpack(packed: Mapping[str, Packed]) -> dict[str, Payload]:
    """Undo :func:`pack`."""
    return {name: from_arrays(value) for name, value in packed.items()}


def _to_plain(value: object) -> object:
    if isinstance(value, Tensor):
        return value.numpy()
    return to_arrays(value) if isinstance(value, Payload) else value


def _from_plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return tensor_view(value)
    return from_arrays(value) if isinstance(value, tuple) else value


def tensor_view(array: NDArray[np.generic]) -> Tensor:
    """A tensor of the array's memory, also where that is read-only; it must not be written to."""
    # PyTorch has no read-only tensors and warns of shared memory that is.
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Unlocked(array)))


class _Unlocked:
    """The same memory, said to be writable."""

    def __init__(self, array: NDArray[np.generic]) -> None:
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface
        self._owner = array
