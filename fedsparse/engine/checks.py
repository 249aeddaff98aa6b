"""The contract between phases: names, shapes and dtypes of states and messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import torch
from torch import Tensor

from fedsparse.engine.calls import MessageShape
from fedsparse.errors import Diverged, ProtocolError
from fedsparse.message import Dense, Payload, Scalars

__all__ = [
    "NOT_FINITE",
    "check_finite",
    "check_message",
    "check_rows",
    "check_said",
    "check_same",
    "check_some_finite",
    "finite_rows",
    "numbers",
    "shape_of",
]


NOT_FINITE = "not finite"
"""Why a message with NaN or infinity is refused."""


def check_rows(
    who: str, what: str, state: Mapping[str, Tensor], like: Mapping[str, Tensor], rows: int
) -> None:
    """New rows of clients must be what ``init`` gave, for ``rows`` clients.

    Raises:
        ProtocolError: names the strategy, the key and the difference.
    """
    _keys(who, what, set(state), set(like))
    for name, value in state.items():
        _tensor(who, what, name, value)
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
        _tensor(who, what, name, value)
        if value.shape != like[name].shape or value.dtype != like[name].dtype:
            raise ProtocolError(
                f"{who}: {what} '{name}' became {tuple(value.shape)} {value.dtype}; it was "
                f"{tuple(like[name].shape)} {like[name].dtype} and must stay that"
            )


def check_finite(who: str, state: Mapping[str, Tensor], round: int) -> None:  # noqa: A002 - a round is a round
    """The server's state must be finite: from NaN and infinity nothing comes back.

    Raises:
        Diverged: names the strategy and the key.
    """
    for name, value in state.items():
        if not bool(value.sum().isfinite()) and not bool(value.isfinite().all()):
            raise Diverged(
                f"{who}: server state '{name}' is not finite after round {round + 1}: training diverged; use smaller "
                "steps (strategy.lr, strategy.server_lr), or a compressor that keeps more"
            )


def finite_rows(message: Mapping[str, Payload]) -> Tensor:
    """Which senders' payloads have neither NaN nor infinity, ``[C]`` bool."""
    return torch.stack([_finite(payload) for payload in message.values()]).all(0)


def _finite(payload: Payload) -> Tensor:
    if not isinstance(payload, Dense):
        return payload.finite()
    # A sum takes one pass and no memory, and is finite only if all its terms are.
    rows = payload.dense()
    found = rows.sum(1).isfinite()
    for row in (~found).nonzero().flatten().tolist():  # or the sum of large ones has left the range
        found[row] = rows[row].isfinite().all()
    return found


def check_some_finite(who: str, arrived: int, refused: Mapping[int, str], round: int) -> None:  # noqa: A002
    """One client that sends NaN is refused and counted; when several do and nobody else, it is not the clients' fault.

    Args:
        who: the strategy's name.
        arrived: messages that came.
        refused: by sender, why its message was refused.
        round: the round.

    Raises:
        Diverged: at least two messages came, and all of them are not finite.
    """
    if arrived > 1 and list(refused.values()) == [NOT_FINITE] * arrived:
        raise Diverged(
            f"{who}: all {arrived} messages of round {round + 1} are not finite: training diverged on the clients; use "
            "smaller steps (strategy.lr)"
        )


def check_said(who: str, said: Mapping[str, Payload], audience: int, shared: bool) -> None:
    """A broadcast has one row for all, or one for each of the audience unless clients share what they hold of it.

    Raises:
        ProtocolError: names the strategy, the key and the difference.
    """
    for name, payload in said.items():
        _payload(who, "broadcast", name, payload)
        if payload.rows not in {1, audience}:
            raise ProtocolError(
                f"{who}: broadcast '{name}' has {payload.rows} rows; it must have 1, for all, or {audience}, one for "
                "each client that listens"
            )
        if shared and payload.rows != 1:
            raise ProtocolError(
                f"{who}: broadcast '{name}' has a row for each client, but what clients hold of it is declared to be "
                "equal on all of them; set held = 'own'"
            )


def check_message(who: str, message: Mapping[str, Payload], rows: int) -> None:
    """A block's message has at least one payload, each with a row for each of its ``rows`` clients.

    Raises:
        ProtocolError: names the strategy, the key and the difference.
    """
    if not message:
        raise ProtocolError(
            f"{who}: client_update gave no payload to send; numbers that are only recorded ('@name') are not sent"
        )
    for name, payload in message.items():
        _payload(who, "message", name, payload)
        if payload.rows != rows:
            raise ProtocolError(
                f"{who}: message '{name}' has {payload.rows} rows; it must have {rows}, one for each client"
            )


def numbers(who: str, message: Mapping[str, Payload], rows: int) -> dict[str, Tensor]:
    """The numbers to record, ``[rows]`` each: the payloads whose names start with ``@``.

    Raises:
        ProtocolError: one is not a :class:`Scalars` of one column, or has not a row for each client.
    """
    found = {}
    for name, payload in message.items():
        if not name.startswith("@"):
            continue
        if not isinstance(payload, Scalars) or tuple(payload.values.shape) != (rows, 1):
            shape = f" of {tuple(payload.values.shape)}" if isinstance(payload, Scalars) else ""
            raise ProtocolError(
                f"{who}: message '{name}' is a {type(payload).__name__}{shape}; a number to record is Scalars of "
                f"({rows}, 1), one for each client"
            )
        found[name] = payload.values[:, 0]
    return found


def shape_of(message: Mapping[str, Payload]) -> MessageShape:
    """The shape that messages of a phase keep."""
    return {name: (_form(p), p.size, p.dtype) for name, p in message.items()}


def _form(payload: Payload) -> str:
    """Its class, and what all payloads that are put into one batch have alike."""
    values = {f.name: getattr(payload, f.name) for f in fields(payload) if f.name not in {"size", "data"}}
    inner = [_form(value) for value in values.values() if isinstance(value, Payload)]
    alike = [
        f"{n}={v}" for n, v in values.items() if not isinstance(v, Tensor | Payload) and v not in ("", None)
    ]
    return " ".join([type(payload).__name__, *inner, *alike])


def _tensor(who: str, what: str, name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise ProtocolError(f"{who}: {what} '{name}' is a {type(value).__name__}; it must be a torch.Tensor")


def _payload(who: str, what: str, name: str, value: object) -> None:
    if not isinstance(value, Payload):
        raise ProtocolError(
            f"{who}: {what} '{name}' is a {type(value).__name__}; it must be a payload, such as Dense(x [C, d])"
        )


def _keys(who: str, what: str, have: set[str], want: set[str]) -> None:
    if have != want:
        lacks = [f"lacks {', '.join(sorted(want - have))}"] if want - have else []
        extra = [f"has {', '.join(sorted(have - want))}, unknown to init"] if have - want else []
        raise ProtocolError(f"{who}: {what} {' and '.join(lacks + extra)}")
