"""A device's part of gossip: what it makes of the messages that its neighbours sent and the server passed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fedsparse.engine.block import MEAN, BlockRunner
from fedsparse.engine.calls import MixCall, MixReply, Rows, Slots, as_array
from fedsparse.engine.checks import shape_of
from fedsparse.engine.gates import Gates
from fedsparse.engine.gossip.mail import Late, Mail
from fedsparse.engine.gossip.meeting import means
from fedsparse.engine.gossip.shelf import lay_out
from fedsparse.engine.slab import Ids
from fedsparse.errors import DecodeError, ProtocolError
from fedsparse.flower.mail import Mailing, Owed
from fedsparse.message import Payload, concatenate
from fedsparse.wire import Limits, decode_message, decode_payload

__all__ = ["Listener", "Mixed"]

_LONGEST = 1 << 33
"""Coordinates of a vector that this device's own message may stand for."""

_KIND = "decode: kind"


class Mixed(NamedTuple):
    """What became of a device's rows, and why it could not use the message of a neighbour, by neighbour."""

    rows: Rows
    refused: Mapping[int, str]


class _Overdue(NamedTuple):
    """Earlier messages of one name that this client gets now, or by which it was heard now; and these messages."""

    late: Late
    overdue: Late
    messages: Payload


class Listener:
    """Opens mail, and mixes it.

    Args:
        client: whose.
        run: number of the run.
        runner: does what the strategy has for it.
        max_norm: messages with a payload of larger norm are refused.
    """

    def __init__(self, client: int, run: int, runner: BlockRunner, max_norm: float | None) -> None:
        self._client, self._run, self._runner, self._max_norm = client, run, runner, max_norm

    def mix(self, mailing: Mailing, own: bytes, rows: Rows) -> Mixed:
        """The new rows.

        Args:
            mailing: what was passed on.
            own: this client's own message in that exchange.
            rows: its state when it had sent that.

        Raises:
            DecodeError: the mail is not what a server of this run sends.
        """
        if [*mailing.senders] != sorted({*mailing.senders} - {self._client}):
            raise DecodeError("mail: its senders are not others, in ascending order")
        message, mailing, refused = self._opened(mailing, own)
        owed = self._owed(mailing, message)
        letters, shared = lay_out([message], "letter")
        overdue, more = lay_out([{name: o.messages for name, o in owed.items()}] if owed else [], "late")
        shared |= more
        if mailing.everyone:
            everybody = _ids(sorted([self._client, *mailing.senders]))
            shared |= {MEAN + name: as_array(value) for name, value in means(everybody, [message]).items()}
        call = MixCall(
            mailing.round,
            mailing.phase,
            mailing.number,
            mailing.now,
            self._mail(mailing, owed),
            letters,
            overdue,
            states=Slots(rows=rows),
        )
        reply: MixReply = self._runner(shared, call)
        assert reply.rows is not None  # noqa: S101 - this runner shares no memory
        return Mixed(reply.rows, refused)

    # ---- messages

    def _opened(self, mailing: Mailing, own: bytes) -> tuple[dict[str, Payload], Mailing, dict[int, str]]:
        """The messages by ascending sender, this client's among them; the mail without those that are refused."""
        shapes = shape_of(decode_message(own, Limits(_LONGEST, len(own)))[1])
        gates = Gates("", self._run, mailing.round, mailing.number, shapes, self._max_norm)
        opened: dict[int, dict[str, Payload]] = {}
        for sender, data in ((self._client, own), *zip(mailing.senders, mailing.letters, strict=True)):
            found = gates.read([data], np.array([sender]), np.ones(1, dtype=bool))
            if found:
                opened[sender] = found
        if self._client not in opened:
            raise DecodeError(f"message: that of client {self._client} itself is damaged")
        refused = dict(gates.refused)
        for sender in [s for s in opened if not _together(opened[self._client], opened[s])]:
            del opened[sender]
            refused[sender] = _KIND
        kept = mailing.without([sender in refused for sender in mailing.senders])
        ordered = [opened[sender] for sender in sorted(opened)]
        return {n: concatenate([m[n] for m in ordered]) for n in ordered[0]}, kept, refused

    def _owed(self, mailing: Mailing, message: Mapping[str, Payload]) -> dict[str, _Overdue]:
        """By name, what comes late and what has arrived late."""
        found: dict[str, _Overdue] = {}
        for name in dict.fromkeys((*mailing.late.names, *mailing.overdue.names)):
            if name not in message:
                raise DecodeError(f"mail: there is no message '{name}' in this exchange")
            late, overdue = mailing.late.named(name), mailing.overdue.named(name)
            pieces = [*late.payloads, *overdue.payloads]
            limits = Limits(message[name].size, max(map(len, pieces)))
            found[name] = _Overdue(
                Late(self._me(late), _ids(late.clients), np.arange(len(late.names)), np.array(late.weights)),
                Late(
                    _ids(overdue.clients),
                    self._me(overdue),
                    np.arange(len(late.names), len(pieces)),
                    np.array(overdue.weights),
                ),
                concatenate([decode_payload(piece, limits) for piece in pieces]),
            )
        return found

    def _me(self, owed: Owed) -> Ids:
        return np.full(len(owed.names), self._client, dtype=np.int64)

    def _mail(self, mailing: Mailing, owed: Mapping[str, _Overdue]) -> Mail:
        senders = _ids(mailing.senders)
        everybody = np.sort(np.append(senders, self._client))
        heard = senders[:0] if mailing.everyone else senders
        return Mail(
            ids=np.array([self._client], dtype=np.int64),
            rows=np.searchsorted(everybody, [self._client]),
            receivers=np.zeros(len(heard), dtype=np.int64),
            senders=heard,
            sources=np.searchsorted(everybody, heard),
            weights=np.array([*mailing.weights], dtype=np.float64),
            own={kind: np.array([weight]) for kind, weight in mailing.own.items()},  # type: ignore[misc]
            others={kind: np.array([*w], dtype=np.float64) for kind, w in mailing.others.items()},  # type: ignore[misc]
            delivered=np.array([mailing.delivered]),
            late={name: o.late for name, o in owed.items()},
            overdue={name: o.overdue for name, o in owed.items()},
            everyone=mailing.everyone,
        )


def _together(own: Mapping[str, Payload], other: Mapping[str, Payload]) -> bool:
    """Whether two messages can be put into one batch."""
    try:
        for name, payload in own.items():
            concatenate([payload, other[name]])
    except ProtocolError:
        return False
    return True


def _ids(clients: Sequence[int]) -> Ids:
    return np.array([*clients], dtype=np.int64)
