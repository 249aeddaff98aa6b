"""The contract between phases: names, shapes and dtypes of states and messages."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fedsparse.errors import ProtocolError
from fedsparse.message import Payload

__all__ = ["MessageShape", "check_rows", "check_same", "check_said", "shape_of"]

MessageShape = Mapping[str, tuple[str, int, torch.dtype]]
"""Of each named payload: its class, size and dtype."""


def check_rows(who: str, what: str, state: Mapping[str, Tensor], like: Mapping[str, Tensor], rows: int) -> None:
    """New rows of clients must be what ``init`` gave, for ``rows`` clients.

    Raises:
        ProtocolError: names the strategy, the key and the difference.
    """
    _keys(who, what, set(state), set(like))
    for name, value in state.items():
        first = like[name]
        wanted = (rows, *first.shape[1:])
        if tuple(value.shape) != wanted or value.dtype != first.dtype:
            raise ProtocolError(
                f"{who}: {what} '{name}' is {tuple(value.shape)} {value.dtype}; init gave {tuple(first.shape)} "
                f"{first.dtype}, so it must be {wanted} {first.dtype}"
            )


def check_same(who: str, what: str, state: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> None:
    """The server's new state must have the keys, shapes and dtypes of the old one.

    Raises:
        ProtocolError: names the strategy, the key and the difference.
    """
    _keys(who, what, set(state), set(like))
    for name, value in state.items():
        if value.shape != like[name].shape or value.dtype != like[name].dtype:
            raise ProtocolError(
                f"{who}: {what} '{name}' became {tuple(value.shape)} {value.dtype}; it was "
                f"{tuple(like[name].shape)} {like[name].dtype} and must stay that"
            )


def check_said(who: str, said: Mapping[str, Payload], audience: int) -> None:
    """A broadcast has one row for all, or one for each of the audience.

    Raises:
        ProtocolError: names the strategy, the key and the difference.
    """
    for name, payload in said.items():
        if payload.rows not in (1, audience):
            raise ProtocolError(
                f"{who}: broadcast '{name}' has {payload.rows} rows; it must have 1, for all, or {audience}, one for "
                "each client that listens"
            )


def shape_of(message: Mapping[str, Payload]) -> MessageShape:
    """The shape that messages of a phase keep."""
    return {name: (type(p).__name__, p.size, p.dtype) for name, p in message.items()}


def _keys(who: str, what: str, have: set[str], want: set[str]) -> None:
    if have != want:
        missing, extra = sorted(want - have), sorted(have - want)
        words = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(extra)}, unknown to init"] * bool(
            extra
        )
        raise ProtocolError(f"{who}: {what} {' and '.join(words)}")
